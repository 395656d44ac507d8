#include <cmath>

#include "hadal/kernels/lanes.h"
#include "hadal/kernels/ref.h"

namespace hadal::kernels::ref {
namespace {

constexpr int64_t kSquareGroups = 4;  // kLanes partial sums each
constexpr int64_t kSquareRounds = 16;

void add_squares(const float* x, Lanes& sums) {
  const f32x4 low = load4(x), high = load4(x + 4);
  sums.low += low * low;
  sums.high += high * high;
}

void add(const Lanes& x, Lanes& sums) {
  sums.low += x.low;
  sums.high += x.high;
}

// Every kSquareRounds rounds the partial sums go into totals of their own, so that no chain of additions grows long.
float sum_of_squares(const float* x, int64_t n) {
  constexpr int64_t kRound = kSquareGroups * kLanes;
  Lanes partial[kSquareGroups], total[kSquareGroups];
  int64_t i = 0;
  for (int64_t round = 1; i + kRound <= n; i += kRound, ++round) {
    for (int64_t g = 0; g < kSquareGroups; ++g) add_squares(x + i + g * kLanes, partial[g]);
    if (round % kSquareRounds != 0) continue;
    for (int64_t g = 0; g < kSquareGroups; ++g) {
      add(partial[g], total[g]);
      partial[g] = {};
    }
  }
  for (int64_t g = 0; g < kSquareGroups; ++g) add(partial[g], total[g]);
  Lanes& lanes = total[0];
  for (; i + kLanes <= n; i += kLanes) add_squares(x + i, lanes);
  for (int64_t g = 1; g < kSquareGroups; ++g) add(total[g], lanes);
  float sum = 0.0F;
  for (; i < n; ++i) sum += x[i] * x[i];
  for (int64_t l = 0; l < 4; ++l) sum += lanes.low[l];
  for (int64_t l = 0; l < 4; ++l) sum += lanes.high[l];
  return sum;
}

}  // namespace

// RMSNorm, arXiv:1910.07467, without bias. All in FP32, and for 8 <= n <= 8192 PyTorch's result on a CPU, bit for bit.
// Embeddings and norm weights are short BF16 numbers, so in the first layer W8A8's x / s can lie exactly between two
// E4M3 codes: this scale's last bit then decides, and reference logits are mostly PyTorch's.
void rmsnorm(const float* x, int64_t ldx, const float* weight, float* y, int64_t ldy, int64_t rows, int64_t n,
             double eps) noexcept {
  for (int64_t r = 0; r < rows; ++r, x += ldx, y += ldy) {
    const float mean = sum_of_squares(x, n) / static_cast<float>(n);
    const float scale = 1.0F / std::sqrt(mean + static_cast<float>(eps));
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] * scale * weight[i];
  }
}

void swiglu(const float* gate, const float* up, float* y, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0F + std::exp(-gate[i])) * up[i];
}

// Checkpoints keep the rotary part as interleaved pairs: (a, b) -> (a cos - b sin, a sin + b cos).
void rope(float* x, int64_t head_stride, int64_t heads, int64_t pairs, const float* cosine,
          const float* sine) noexcept {
  for (int64_t h = 0; h < heads; ++h, x += head_stride) {
    for (int64_t i = 0; i < pairs; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = a * cosine[i] - b * sine[i];
      x[2 * i + 1] = a * sine[i] + b * cosine[i];
    }
  }
}

}  // namespace hadal::kernels::ref
