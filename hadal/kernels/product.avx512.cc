// Products of 8-bit activations with integer weights on AVX-512 VNNI, for a few rows of activations: what decoding does.
// The instruction multiplies unsigned by signed bytes, so weights are taken plus 128 and 128 times the sum of the
// activations is subtracted again: exact. A few weight rows are streamed side by side, each line of them unpacked once
// and multiplied with every row of activations.
#include <algorithm>
#include <bit>

#include "hadal/kernels/avx512.h"
#include "hadal/kernels/avx512_pack.h"
#include "hadal/kernels/vnni.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels::vnni {
namespace {

constexpr int64_t kAhead =
    4096;  // bytes that are prefetched ahead: best of 1, 2, 4, 8 KiB on Sapphire Rapids

// Sixty-four columns of a weight's row from column k, plus 128.
template <Format format>
__m512i line_of(const std::byte* row, const uint8_t* group_code, const Weight& w, int group_shift,
                int64_t k) {
  if constexpr (format == Format::kI8) {
    const int64_t left = w.in_features - k;
    const __mmask64 mask = left >= 64 ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
    return _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, row + k),
                            _mm512_set1_epi8(static_cast<char>(0x80)));
  } else {
    const uint8_t low = group_code[k >> group_shift];
    const bool one_group = group_shift >= 6 || k + 32 >= w.in_features;
    const uint8_t high = one_group ? low : group_code[(k + 32) >> group_shift];
    return i4_bytes(row + k / 2, kI4TablePlus128, low, high);
  }
}

// sums[r][i] = integer dot product of weight row r and activation row i over columns [begin, end).
template <Format format, int kRows, int kM>
void dots(const ProductArgs& args, int64_t row, int64_t first_m, int64_t begin, int64_t end,
          int32_t (&sums)[kRows][kM]) {
  const Weight& w = args.w;
  const int64_t row_bytes = w.row_bytes(), a_bytes = ref::i8_row_bytes(w.in_features);
  const std::byte* a = args.a + first_m * a_bytes;
  const std::byte* weights = w.data + row * row_bytes;
  const int64_t group_cols = w.group_cols();
  const uint8_t* group_code = w.group_code + (w.first_row + row) * group_cols;
  const int group_shift = w.group > 0 ? std::countr_zero(static_cast<uint64_t>(w.group)) : 0;
  __m512i sum[kRows][kM], offset[kM];
  for (int i = 0; i < kM; ++i) {
    offset[i] = _mm512_setzero_si512();
    for (int r = 0; r < kRows; ++r) sum[r][i] = _mm512_setzero_si512();
  }
  const bool whole = begin == 0 && end >= w.in_features;
  for (int64_t k = begin; k < end; k += 64) {
    __m512i line[kRows];
    for (int r = 0; r < kRows; ++r) {
      const std::byte* from = weights + r * row_bytes;
      _mm_prefetch(reinterpret_cast<const char*>(from + k / (format == Format::kI4 ? 2 : 1) + kAhead),
                   _MM_HINT_T0);
      line[r] = line_of<format>(from, group_code + r * group_cols, w, group_shift, k);
    }
    for (int i = 0; i < kM; ++i) {
      const __m512i codes = _mm512_loadu_si512(a + i * a_bytes + k);
      if (!whole)
        offset[i] = _mm512_dpbusd_epi32(offset[i], _mm512_set1_epi8(static_cast<char>(0x80)), codes);
      for (int r = 0; r < kRows; ++r) sum[r][i] = _mm512_dpbusd_epi32(sum[r][i], line[r], codes);
    }
  }
  for (int i = 0; i < kM; ++i) {
    const int32_t excess = whole ? 128 * args.a_sum[first_m + i] : _mm512_reduce_add_epi32(offset[i]);
    for (int r = 0; r < kRows; ++r) sums[r][i] = _mm512_reduce_add_epi32(sum[r][i]) - excess;
  }
}

template <int kM>
constexpr int kRowsFor = kM <= 4 ? 4 : 2;  // 16 sums, and as many registers for what they are made of

#include "hadal/kernels/product_rows.inc"

}  // namespace

void pack_i8(const PackArgs& args) noexcept {
  const int64_t row_bytes = ref::i8_row_bytes(args.k);
  for (int64_t i = 0; i < args.m; ++i) {
    const float* x = row_of(args, i);
    const float largest = largest_of(x, args.k);
    const __m512 inverse = _mm512_set1_ps(inverse_of(largest));
    __m512i sum = _mm512_setzero_si512();
    for (int64_t k = 0; k < row_bytes; k += 64) {
      const __m512i codes = i8_line(x + k, args.k - k, inverse);
      _mm512_storeu_si512(args.packed + i * row_bytes + k, codes);
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), codes);
    }
    args.scale[i] = largest / 127.0F;
    args.sum[i] = _mm512_reduce_add_epi32(sum);
  }
}

template <Format format>
void gemm_i8(const ProductArgs& args) noexcept {
  int64_t i = 0;
  for (; i + 8 <= args.m; i += 8) rows<format, 8>(args, i);
  for (; i + 4 <= args.m; i += 4) rows<format, 4>(args, i);
  for (; i + 2 <= args.m; i += 2) rows<format, 2>(args, i);
  if (i < args.m) rows<format, 1>(args, i);
}

template void gemm_i8<Format::kI8>(const ProductArgs&) noexcept;
template void gemm_i8<Format::kI4>(const ProductArgs&) noexcept;

}  // namespace hadal::kernels::vnni

#include "hadal/kernels/target_end.inc"
