// What the AVX2 row does number by number. RMSNorm, RoPE and the packing have the reference row's bits: the same
// operations, eight at a time and none of them fused.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "hadal/core/dtype.h"
#include "hadal/kernels/avx2.h"
#include "hadal/kernels/vector_avx2.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx2_begin.inc"
// clang-format on

namespace hadal::kernels::avx2 {
namespace {

#include "hadal/kernels/swiglu.inc"

static_assert(Vector::kWidth == kLanes);

Vector::Floats add_squares(const float* x, Vector::Floats sums) {
  const Vector::Floats values = Vector::load(x);
  return Vector::add(sums, Vector::mul(values, values));
}

// elementwise.ref.cc's order: four times eight partial sums, which go into totals every sixteen rounds.
float sum_of_squares(const float* x, int64_t n) {
  constexpr int64_t kGroups = 4, kRounds = 16, kRound = kGroups * kLanes;
  Vector::Floats partial[kGroups], total[kGroups];
  for (int64_t g = 0; g < kGroups; ++g) partial[g] = total[g] = Vector::zero();
  int64_t i = 0;
  for (int64_t round = 1; i + kRound <= n; i += kRound, ++round) {
    for (int64_t g = 0; g < kGroups; ++g) partial[g] = add_squares(x + i + g * kLanes, partial[g]);
    if (round % kRounds != 0) continue;
    for (int64_t g = 0; g < kGroups; ++g) {
      total[g] = Vector::add(total[g], partial[g]);
      partial[g] = Vector::zero();
    }
  }
  for (int64_t g = 0; g < kGroups; ++g) total[g] = Vector::add(total[g], partial[g]);
  for (; i + kLanes <= n; i += kLanes) total[0] = add_squares(x + i, total[0]);
  for (int64_t g = 1; g < kGroups; ++g) total[0] = Vector::add(total[0], total[g]);
  float sum = 0.0F;
  for (; i < n; ++i) sum += x[i] * x[i];
  float lanes[kLanes];
  Vector::store(lanes, total[0]);
  for (const float lane : lanes) sum += lane;
  return sum;
}

}  // namespace

void rmsnorm(const float* x, int64_t ldx, const float* weight, float* y, int64_t ldy, int64_t rows, int64_t n,
             double eps) noexcept {
  for (int64_t r = 0; r < rows; ++r, x += ldx, y += ldy) {
    const float mean = sum_of_squares(x, n) / static_cast<float>(n);
    const float scale = 1.0F / std::sqrt(mean + static_cast<float>(eps));
    const Vector::Floats scales = Vector::set(scale);
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      Vector::store(y + i, Vector::mul(Vector::mul(Vector::load(x + i), scales), Vector::load(weight + i)));
    }
    for (; i < n; ++i) y[i] = x[i] * scale * weight[i];
  }
}

void swiglu(const float* gate, const float* up, float* y, int64_t n) noexcept {
  swiglu_all(gate, up, y, n);
}

void rope(float* x, int64_t head_stride, int64_t heads, int64_t pairs, const float* cosine,
          const float* sine) noexcept {
  for (int64_t h = 0; h < heads; ++h, x += head_stride) {
    int64_t i = 0;
    for (; i + 4 <= pairs; i += 4) {  // four pairs: (a, b) * (cos, cos) -+ (b, a) * (sin, sin)
      const __m128 c = _mm_loadu_ps(cosine + i), s = _mm_loadu_ps(sine + i);
      const __m256 cosines = _mm256_set_m128(_mm_unpackhi_ps(c, c), _mm_unpacklo_ps(c, c));
      const __m256 sines = _mm256_set_m128(_mm_unpackhi_ps(s, s), _mm_unpacklo_ps(s, s));
      const __m256 values = _mm256_loadu_ps(x + 2 * i), swapped = _mm256_permute_ps(values, 0xb1);
      _mm256_storeu_ps(x + 2 * i,
                       _mm256_addsub_ps(_mm256_mul_ps(values, cosines), _mm256_mul_ps(swapped, sines)));
    }
    for (; i < pairs; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = a * cosine[i] - b * sine[i];
      x[2 * i + 1] = a * sine[i] + b * cosine[i];
    }
  }
}

void pack_bf16(const float* x, int64_t k, int64_t block, float* packed) noexcept {
  for (int64_t begin = 0; begin < k; begin += block, packed += padded(block)) {
    const int64_t length = std::min(block, k - begin);
    int64_t i = 0;
    for (; i + kLanes <= length; i += kLanes)
      Vector::store(packed + i, Vector::round_to_bf16(Vector::load(x + begin + i)));
    if (i < length)  // and zeros to the end of the eight
      Vector::store(packed + i, Vector::round_to_bf16(Vector::load(x + begin + i, length - i)));
  }
}

void store_bf16(const float* x, int64_t n, std::byte* out) noexcept {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const __m256i codes = _mm256_srli_epi32(Vector::to_bf16(Vector::load(x + i)), 16);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(codes, codes), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 2 * i), _mm256_castsi256_si128(packed));
  }
  for (; i < n; ++i) {
    const bf16 code = to_bf16(x[i]);
    std::memcpy(out + 2 * i, &code, sizeof code);
  }
}

}  // namespace hadal::kernels::avx2

#include "hadal/kernels/target_end.inc"
