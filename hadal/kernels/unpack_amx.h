#pragma once

// Rows of weights as AMX tiles take them. Included by product.amx.cc only.

#include <algorithm>

#include "hadal/core/weight.h"
#include "hadal/kernels/avx512.h"
#include "hadal/kernels/avx512_pack.h"
#include "hadal/kernels/row_source.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels::amx {

inline __mmask64 first_bytes(int64_t count) {
  return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << std::max<int64_t>(count, 0)) - 1;
}
inline void bring(const std::byte* at) {
  _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T1);
}

/// Bytes [begin, begin + bytes) of a row as the tiles take them, BF16 or integers, whole lines; zeros beyond the row's end.
/// Brings the stored bytes `ahead` of those that it reads into the cache meanwhile.
template <Format format, bool kInt>
void unpack_row(const RowSource& w, int64_t row, int64_t begin, int64_t bytes, int64_t ahead, std::byte* out);

// As they lie: only where a row is not of whole lines, or a strip not of 32 rows.
inline void copy_row(const RowSource& w, int64_t row, int64_t begin, int64_t bytes, int64_t ahead,
                     std::byte* out) {
  const std::byte* from = w.data + row * w.row_bytes + begin;
  const int64_t left = w.row_bytes - begin;
  for (int64_t b = 0; b < bytes; b += kLine) {
    bring(from + b + ahead);
    _mm512_storeu_si512(out + b, _mm512_maskz_loadu_epi8(first_bytes(left - b), from + b));
  }
}
template <>
inline void unpack_row<Format::kBF16, false>(const RowSource& w, int64_t row, int64_t begin, int64_t bytes,
                                             int64_t ahead, std::byte* out) {
  copy_row(w, row, begin, bytes, ahead, out);
}
template <>
inline void unpack_row<Format::kI8, true>(const RowSource& w, int64_t row, int64_t begin, int64_t bytes,
                                          int64_t ahead, std::byte* out) {
  copy_row(w, row, begin, bytes, ahead, out);
}

template <>
inline void unpack_row<Format::kI4, true>(const RowSource& w, int64_t row, int64_t begin, int64_t bytes,
                                          int64_t ahead, std::byte* out) {
  const std::byte* from = w.data + row * w.row_bytes + begin / 2;
  const uint8_t* code = w.group_code + row * w.group_cols;
  const auto one_group = [&](int64_t b) {
    const uint8_t group = code[(begin + b) >> w.group_shift];
    _mm512_storeu_si512(out + b, i4_bytes(from + b / 2, kI4Table, group, group));
  };
  if (w.group_shift >= 6) {
    int64_t b = 0;
    for (; b + kLine < bytes; b += 2 * kLine) {  // two lines are one of the codes'
      bring(from + b / 2 + ahead);
      one_group(b);
      one_group(b + kLine);
    }
    if (b < bytes) one_group(b);
    return;
  }
  for (int64_t b = 0; b < bytes; b += kLine) {
    const int64_t k = begin + b;
    bring(from + b / 2 + ahead);
    const uint8_t low = code[k / 32], high = k + 32 < w.columns ? code[k / 32 + 1] : low;
    _mm512_storeu_si512(out + b, i4_bytes(from + b / 2, kI4Table, low, high));
  }
}

template <>
inline void unpack_row<Format::kI8, false>(const RowSource& w, int64_t row, int64_t begin, int64_t bytes,
                                           int64_t ahead, std::byte* out) {
  const std::byte* from = w.data + row * w.row_bytes + begin / 2;
  const int64_t left = w.columns - begin / 2;
  for (int64_t k = 0; k < bytes / 2; k += 16) {
    if (k % 64 == 0) bring(from + k + ahead);
    const auto mask = static_cast<__mmask16>(first_bytes(left - k));
    const __m512i integers = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, from + k));
    const __m512i floats = _mm512_castps_si512(_mm512_cvtepi32_ps(integers));  // 8 bits: exact as BF16
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2 * k),
                        _mm512_cvtepi32_epi16(_mm512_srli_epi32(floats, 16)));
  }
}

/// Both bytes of 64 BF16.
struct Halves {
  __m512i low, high;
};

// E4M3 to BF16, exactly. For exponent bits e != 0 the BF16 exponent e + 120 has the bits e3, three times not e3, not e3, e2,
// e1, e0: both bytes of the result are affine maps over GF(2) of the code. Codes with e = 0 are rare and looked up.
inline Halves f8_halves(__m512i codes) {
  Halves h;
  h.high = _mm512_gf2p8affine_epi64_epi8(codes, _mm512_set1_epi64(0x1020404040404080), 0x3c);
  h.low = _mm512_gf2p8affine_epi64_epi8(codes, _mm512_set1_epi64(0x01020408), 0);
  const __mmask64 small = _mm512_testn_epi8_mask(codes, _mm512_set1_epi8(0x78));
  if (small != 0) [[unlikely]] {
    const __m512i high_small = _mm512_set1_epi64(0x3c3c3c3c3b3b3b00);
    const __m512i low_small = _mm512_set1_epi64(0x60402000c0800000);
    const __m512i mantissa = _mm512_and_si512(codes, _mm512_set1_epi8(7));
    const __m512i sign = _mm512_and_si512(codes, _mm512_set1_epi8(static_cast<char>(0x80)));
    h.high = _mm512_mask_permutexvar_epi8(h.high, small, mantissa, high_small);
    h.high = _mm512_or_si512(h.high, _mm512_maskz_mov_epi8(small, sign));
    h.low = _mm512_mask_permutexvar_epi8(h.low, small, mantissa, low_small);
  }
  return h;
}

template <>
inline void unpack_row<Format::kF8E4M3, false>(const RowSource& w, int64_t row, int64_t begin, int64_t bytes,
                                               int64_t ahead, std::byte* out) {
  const std::byte* from = w.data + row * w.row_bytes + begin / 2;
  const int64_t left = w.columns - begin / 2;
  const __m512i order =
      _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);  // so that unpacking restores the columns' order
  const auto two_lines = [&](int64_t k, __m512i codes) {
    bring(from + k + ahead);
    const Halves h = f8_halves(_mm512_permutexvar_epi64(order, codes));
    _mm512_storeu_si512(out + 2 * k, _mm512_unpacklo_epi8(h.low, h.high));
    if (2 * k + kLine < bytes) _mm512_storeu_si512(out + 2 * k + kLine, _mm512_unpackhi_epi8(h.low, h.high));
  };
  int64_t k = 0;
  for (; k < bytes / 2 && k + 64 <= left; k += 64) two_lines(k, _mm512_loadu_si512(from + k));
  for (; k < bytes / 2; k += 64) two_lines(k, _mm512_maskz_loadu_epi8(first_bytes(left - k), from + k));
}

}  // namespace hadal::kernels::amx

#include "hadal/kernels/target_end.inc"
