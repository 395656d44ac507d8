#include <cmath>

#include "hadal/kernels/ref.h"

namespace hadal::kernels::ref {

// RMSNorm, arXiv:1910.07467, without bias. The sum is taken in double: this is what other rows are measured against, so
// its own rounding has to be too small to argue about.
void rmsnorm(const float* x, int64_t ldx, const float* weight, float* y, int64_t ldy, int64_t rows, int64_t n,
             double eps) noexcept {
  for (int64_t r = 0; r < rows; ++r, x += ldx, y += ldy) {
    double sum_sq = 0.0;
    for (int64_t i = 0; i < n; ++i) sum_sq += double{x[i]} * x[i];
    // From the mean on in FP32, as every implementation has it: the last bit decides ties of W8A8 roundings.
    const float scale =
        1.0F / std::sqrt(static_cast<float>(sum_sq / static_cast<double>(n)) + static_cast<float>(eps));
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
