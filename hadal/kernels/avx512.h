#pragma once

// Helpers of the rows for AVX-512 and AMX. Included by their .cc files only, between avx512_begin.inc and target_end.inc.

#include <cstddef>
#include <cstdint>

#include <immintrin.h>

#include "hadal/kernels/i4_table.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels {

inline __m512 load_floats(const float* p, int64_t count) {
  if (count >= 16) return _mm512_loadu_ps(p);
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1U << count) - 1), p);
}

/// Sixteen floats as BF16, rounded to nearest even; NaN aside exactly as to_bf16() of core/dtype.h does.
inline __m256i to_bf16_16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}

/// Row i becomes column i of a 16 x 16 block of 32-bit numbers, in registers.
inline void transpose_16(__m512i (&r)[16]) {
  __m512i t[16];
  for (int64_t i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int64_t i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int64_t i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int64_t i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

/// e^x, relative error below 2e-7: x = n ln 2 + r, |r| <= ln 2 / 2, a polynomial for e^r. -infinity gives 0, NaN stays.
inline __m512 exp_16(__m512 x) {
  // scalef reaches down to 0 by itself, but n must stay a number: beyond these bounds the result is 0 or infinity anyway.
  x = _mm512_max_ps(_mm512_set1_ps(-126.0F), x);  // of a NaN and a number, the second
  x = _mm512_min_ps(_mm512_set1_ps(89.0F), x);
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504F)), 8);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145752F), x);  // ln 2, the bits that multiply exactly
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860677e-06F), r);      // and the rest of it
  __m512 p = _mm512_set1_ps(1.0F / 720.0F);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F / 120.0F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F / 24.0F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F / 6.0F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F));
  return _mm512_scalef_ps(p, n);
}

/// Sixty-four columns of INT4 as bytes: `table` is kI4Table or kI4TablePlus128, `groups` the codes of columns 0 and 32.
inline __m512i i4_bytes(const std::byte* codes, const I4Table& table, uint8_t low, uint8_t high) {
  const __m512i pairs = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
  const __m512i halves = _mm512_srlv_epi64(pairs, _mm512_set_epi64(4, 4, 4, 4, 0, 0, 0, 0));
  const auto row = [&](uint8_t group) {
    return _mm_load_si128(reinterpret_cast<const __m128i*>(table[group].data()));
  };
  __m512i integers = _mm512_broadcast_i32x4(row(low));
  if (low != high) integers = _mm512_mask_broadcast_i32x4(integers, 0xff00, row(high));
  return _mm512_shuffle_epi8(integers, _mm512_and_si512(halves, _mm512_set1_epi8(15)));
}

}  // namespace hadal::kernels

#include "hadal/kernels/target_end.inc"
