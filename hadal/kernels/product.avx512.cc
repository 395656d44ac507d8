// Products of 8-bit activations with integer weights on AVX-512 VNNI, for a few rows of activations: what decoding does.
// The instruction multiplies unsigned by signed bytes, so weights are taken plus 128 and 128 times the sum of the
// activations is subtracted again: exact. A few weight rows are streamed side by side, each line of them unpacked once
// and multiplied with every row of activations.
#include <algorithm>

#include "hadal/kernels/avx512.h"
#include "hadal/kernels/avx512_pack.h"
#include "hadal/kernels/row_source.h"
#include "hadal/kernels/vnni.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels::vnni {
namespace {

// Bytes of a row that are prefetched ahead: best of 512 to 4096 on Sapphire Rapids.
template <Format format>
constexpr int64_t kAhead = format == Format::kI4 ? 2048 : 4096;

// One call's view of its weight and activations.
struct Call {
  explicit Call(const ProductArgs& a) : args(a), w(a.w), a_bytes(ref::i8_row_bytes(a.w.in_features)) {}
  const ProductArgs& args;
  const RowSource w;
  const int64_t a_bytes;
};

// Sixty-four columns of a weight's row from column k, plus 128. kWide: groups of INT4 have 64 columns or more.
template <Format format, bool kWide>
__m512i line_of(const RowSource& w, const std::byte* row, const uint8_t* group_code, int64_t k) {
  if constexpr (format == Format::kI8) {
    const __m512i codes = k + 64 <= w.columns
                              ? _mm512_loadu_si512(row + k)
                              : _mm512_maskz_loadu_epi8((uint64_t{1} << (w.columns - k)) - 1, row + k);
    return _mm512_xor_si512(codes, _mm512_set1_epi8(static_cast<char>(0x80)));
  } else {
    const uint8_t low = group_code[kWide ? k >> w.group_shift : k / 32];
    const uint8_t high = kWide || k + 32 >= w.columns ? low : group_code[k / 32 + 1];
    return i4_bytes(row + k / 2, kI4TablePlus128, low, high);
  }
}

// Brings in what is read next: of 128 columns the bytes that lie kAhead behind, in the same row or in the one that follows
// in its place.
template <Format format, int kRows>
void bring(const RowSource& w, const std::byte* row, int64_t k) {
  constexpr int64_t kBytes = format == Format::kI4 ? 64 : 128;
  int64_t at = k / 128 * kBytes + kAhead<format>;
  if (at >= w.row_bytes) at += (kRows - 1) * w.row_bytes;
  for (int64_t b = 0; b < kBytes; b += 64)
    _mm_prefetch(reinterpret_cast<const char*>(row + at + b), _MM_HINT_T0);
}

// The sums of four vectors' sixteen integers.
__m128i sums_of(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// sums[i][r] = integer dot product of weight row r and activation row i over columns [begin, end). kWhole: all columns.
template <Format format, bool kWide, bool kWhole, int kRows, int kM>
void dots(const Call& call, int64_t row, int64_t first_m, int64_t begin, int64_t end,
          int32_t (&sums)[kM][kRows]) {
  const RowSource w = call.w;
  const std::byte* a = call.args.a + first_m * call.a_bytes;
  const std::byte* weights = w.data + row * w.row_bytes;
  const uint8_t* group_code = w.group_code + row * w.group_cols;
  __m512i sum[kRows][kM], offset[kM];
  for (int i = 0; i < kM; ++i) {
    offset[i] = _mm512_setzero_si512();
    for (int r = 0; r < kRows; ++r) sum[r][i] = _mm512_setzero_si512();
  }
  const auto add_line = [&](int64_t k) {
    __m512i line[kRows];
    for (int r = 0; r < kRows; ++r)
      line[r] = line_of<format, kWide>(w, weights + r * w.row_bytes, group_code + r * w.group_cols, k);
    for (int i = 0; i < kM; ++i) {
      const __m512i codes = _mm512_loadu_si512(a + i * call.a_bytes + k);
      if (!kWhole)
        offset[i] = _mm512_dpbusd_epi32(offset[i], _mm512_set1_epi8(static_cast<char>(0x80)), codes);
      for (int r = 0; r < kRows; ++r) sum[r][i] = _mm512_dpbusd_epi32(sum[r][i], line[r], codes);
    }
  };
  int64_t k = begin;
  for (; k + 128 <= end; k += 128) {
    for (int r = 0; r < kRows; ++r) bring<format, kRows>(w, weights + r * w.row_bytes, k);
    add_line(k);
    add_line(k + 64);
  }
  for (; k < end; k += 64) add_line(k);
  for (int i = 0; i < kM; ++i) {
    const int32_t excess = kWhole ? 128 * call.args.a_sum[first_m + i] : _mm512_reduce_add_epi32(offset[i]);
    if constexpr (kRows == 4) {
      const __m128i four = sums_of(sum[0][i], sum[1][i], sum[2][i], sum[3][i]);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(sums[i]), _mm_sub_epi32(four, _mm_set1_epi32(excess)));
    } else {
      for (int r = 0; r < kRows; ++r) sums[i][r] = _mm512_reduce_add_epi32(sum[r][i]) - excess;
    }
  }
}

// c for kRows weight rows and kM activation rows.
template <Format format, bool kWide, int kRows, int kM>
void block(const Call& call, int64_t j, int64_t first_m) {
  const ProductArgs& args = call.args;
  const Weight& w = args.w;
  const int64_t row = args.first_n + j, columns = w.in_features, step = std::min(w.block_cols, columns);
  const int64_t scale_cols = step == columns ? 1 : w.scale_cols();
  float total[kM][kRows] = {};
  for (int64_t b = 0, begin = 0; begin < columns; ++b, begin += step) {
    int32_t sums[kM][kRows];
    if (step == columns) {
      dots<format, kWide, true, kRows, kM>(call, row, first_m, 0, columns, sums);
    } else {
      dots<format, kWide, false, kRows, kM>(call, row, first_m, begin, std::min(begin + step, columns), sums);
    }
    for (int r = 0; r < kRows; ++r) {
      const float scale = w.scale[(w.first_row + row + r) * scale_cols + b];
      for (int i = 0; i < kM; ++i) total[i][r] += static_cast<float>(sums[i][r]) * scale;
    }
  }
  for (int i = 0; i < kM; ++i) {
    for (int r = 0; r < kRows; ++r)
      args.c[(first_m + i) * args.ldc + j + r] = total[i][r] * args.a_scale[first_m + i];
  }
}

template <Format format, bool kWide, int kM>
void rows(const Call& call, int64_t first_m) {
  constexpr int kRows = kM <= 4 ? 4 : 2;  // 16 sums, and as many registers for what they are made of
  int64_t j = 0;
  for (; j + kRows <= call.args.n; j += kRows) block<format, kWide, kRows, kM>(call, j, first_m);
  for (; j < call.args.n; ++j) block<format, kWide, 1, kM>(call, j, first_m);
}

// The rows from first_m on, kMost at most, in one pass over the weight.
template <Format format, bool kWide, int kMost>
void last_rows(const Call& call, int64_t first_m) {
  if constexpr (kMost > 0) {
    if (call.args.m - first_m == kMost) return rows<format, kWide, kMost>(call, first_m);
    last_rows<format, kWide, kMost - 1>(call, first_m);
  }
}

template <Format format, bool kWide>
void multiply(const ProductArgs& args) {
  const Call call(args);
  int64_t i = 0;
  for (; i + 8 <= args.m; i += 8) rows<format, kWide, 8>(call, i);
  last_rows<format, kWide, 7>(call, i);
}

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
  if (format != Format::kI4 || args.w.group >= 64) {
    multiply<format, true>(args);
  } else {
    multiply<format, false>(args);
  }
}

template void gemm_i8<Format::kI8>(const ProductArgs&) noexcept;
template void gemm_i8<Format::kI4>(const ProductArgs&) noexcept;

}  // namespace hadal::kernels::vnni

#include "hadal/kernels/target_end.inc"
