#pragma once

#include <cstdint>
#include <cstring>

namespace hadal::kernels {

/// Four floats in one register of any machine that we build for: SSE2 on x86-64, NEON on AArch64.
using f32x4 = float __attribute__((vector_size(16)));

inline f32x4 load4(const float* p) {
  f32x4 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store4(float* p, f32x4 v) {
  std::memcpy(p, &v, sizeof v);
}

/// The eight partial sums of a dot product.
struct Lanes {
  f32x4 low{}, high{};
};

/// ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7)): the fixed tree that every dot product ends with.
inline float sum(const Lanes& x) {
  const f32x4 half = x.low + x.high;
  return (half[0] + half[2]) + (half[1] + half[3]);
}

/// dots[i][j] = sum over k of a_i[k] * b_j[k], k a multiple of 8, for a kA x kB tile: eight accumulators for 2 x 2, half
/// of the sixteen registers that baseline x86-64 has.
template <int kA, int kB>
inline void dot_tile(const float* a, int64_t lda, const float* b, int64_t ldb, int64_t k,
                     float (&dots)[kA][kB]) {
  Lanes sums[kA][kB];
  for (int64_t p = 0; p < k; p += 8) {
    for (int j = 0; j < kB; ++j) {
      const f32x4 b_low = load4(b + j * ldb + p), b_high = load4(b + j * ldb + p + 4);
      for (int i = 0; i < kA; ++i) {
        sums[i][j].low += load4(a + i * lda + p) * b_low;
        sums[i][j].high += load4(a + i * lda + p + 4) * b_high;
      }
    }
  }
  for (int i = 0; i < kA; ++i) {
    for (int j = 0; j < kB; ++j) dots[i][j] = sum(sums[i][j]);
  }
}

}  // namespace hadal::kernels
