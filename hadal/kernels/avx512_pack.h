#pragma once

// Activations in the layouts of the AVX-512 and AMX rows. Included by their .cc files only.

#include <bit>
#include <limits>

#include "hadal/kernels/avx512.h"
#include "hadal/kernels/kernel_table.h"
#include "hadal/kernels/ref.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels {

/// Bytes of K in one line of a tile: every layout pads its rows to whole lines with zeros.
inline constexpr int64_t kLine = 64;

inline int64_t bf16_row_bytes(int64_t k) {
  return (2 * k + kLine - 1) / kLine * kLine;
}

/// Thirty-two columns of a row as BF16; beyond `count` zeros.
inline __m512i bf16_line(const float* x, int64_t count) {
  const __m256i low = to_bf16_16(load_floats(x, count));
  const __m256i high = count > 16 ? to_bf16_16(load_floats(x + 16, count - 16)) : _mm256_setzero_si256();
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/// Sixty-four columns of a row as 8-bit integers x * inverse, rounded to nearest even; beyond `count` zeros. Zeros too where
/// the product is NaN: infinity times the 0 that inverse_of() has for such a row.
inline __m512i i8_line(const float* x, int64_t count, __m512 inverse) {
  __m128i part[4];
  for (int64_t q = 0; q < 4; ++q) {
    const int64_t left = count - 16 * q;
    const __m512 values = left > 0 ? load_floats(x + 16 * q, left) : _mm512_setzero_ps();
    const __m512 scaled = _mm512_mul_ps(values, inverse);
    const __mmask16 number = _mm512_cmp_ps_mask(scaled, scaled, _CMP_ORD_Q);
    part[q] = _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(number, scaled));
  }
  const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(part[0]), part[1], 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(part[2]), part[3], 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/// max|x| of a row, NaN for one with an infinity or a NaN (i8.ref.cc).
inline float largest_of(const float* x, int64_t k) {
  __m512i largest = _mm512_setzero_si512();
  for (int64_t i = 0; i < k; i += 16) {
    const __m512 magnitude = _mm512_abs_ps(load_floats(x + i, k - i));
    largest = _mm512_max_epi32(largest, _mm512_castps_si512(magnitude));
  }
  const int32_t bits = _mm512_reduce_max_epi32(largest);
  return bits < 0x7f800000 ? std::bit_cast<float>(bits) : std::numeric_limits<float>::quiet_NaN();
}
/// What a row is multiplied with to become integers; 0 if its largest is too small to be divided by, or NaN.
inline float inverse_of(float largest) {
  return largest >= 1e-30F ? 127.0F / largest : 0.0F;
}

/// Writes the lines of a panel of m rows, of total_m in all, as AMX takes its B operand: dword d of all rows side by side,
/// and zeros beside them, [dwords][width].
/// line(row, byte) gives a row's 64 bytes from there.
template <class Line>
inline void interleave_rows(int64_t m, int64_t total_m, int64_t row_bytes, std::byte* out, const Line& line) {
  if (total_m == 1) {
    for (int64_t b = 0; b < row_bytes; b += kLine) _mm512_storeu_si512(out + b, line(0, b));
    return;
  }
  const int64_t width = std::min(kPanelRows, packed_rows(total_m));
  const auto mask = static_cast<__mmask16>((1U << width) - 1);
  for (int64_t b = 0; b < row_bytes; b += kLine) {
    __m512i r[16];
    for (int64_t i = 0; i < 16; ++i) r[i] = i < m ? line(i, b) : _mm512_setzero_si512();
    transpose_16(r);
    std::byte* to = out + b * width;
    for (int64_t d = 0; d < 16; ++d) _mm512_mask_storeu_epi32(to + d * width * 4, mask, r[d]);
  }
}

inline const float* row_of(const PackArgs& args, int64_t i) {
  return args.x + (args.rows ? args.rows[i] : i) * args.ldx;
}

}  // namespace hadal::kernels

#include "hadal/kernels/target_end.inc"
