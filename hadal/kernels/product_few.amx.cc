// Products of FP8 weights with a few rows of BF16 activations, without tiles: what decoding does. A tile that multiplies one
// row is almost empty, and expanded weights would go through memory on their way into it. Here they stay in registers.
//
// The bits are those of the tiles (product.amx.cc). A tile's product sums the even and the odd columns of 32 apart from each
// other, fused, adds the two, and adds that to the result; denormal numbers count as zero.
#include <algorithm>

#include "hadal/kernels/amx.h"
#include "hadal/kernels/avx512.h"
#include "hadal/kernels/row_source.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels::amx {
namespace {

constexpr int64_t kRows = 16;     // weight rows at a time, one in each lane
constexpr int64_t kColumns = 64;  // of them at a time: a line of codes
constexpr int64_t kPairs = kColumns / 2;
constexpr int64_t kAhead = 512;  // bytes of a row that are prefetched ahead

// Byte `column` of each lane, an E4M3 code, as a float, exactly. `common`: no code of them all has an exponent of 0.
template <int column>
__m512 f8_floats(__m512i codes, bool common) {
  const __m512i top = column == 3 ? codes : _mm512_slli_epi32(codes, 24 - 8 * column);
  // Sign, four bits of exponent and three of mantissa where a float has them; its exponent is larger by 120.
  const __m512i placed =
      _mm512_and_si512(_mm512_srai_epi32(top, 4), _mm512_set1_epi32(static_cast<int>(0x87f00000)));
  const __m512 normal = _mm512_castsi512_ps(_mm512_add_epi32(placed, _mm512_set1_epi32(120 << 23)));
  if (common) [[likely]]
    return normal;
  const __mmask16 small = _mm512_testn_epi32_mask(top, _mm512_set1_epi32(0x78000000));
  const __m512i mantissa = _mm512_and_si512(_mm512_srli_epi32(top, 24), _mm512_set1_epi32(7));
  const __m512 size = _mm512_mul_ps(_mm512_cvtepi32_ps(mantissa), _mm512_set1_ps(1.0F / 512));  // 2^-9 each
  const __m512i sign = _mm512_and_si512(top, _mm512_set1_epi32(static_cast<int>(0x80000000)));
  return _mm512_mask_mov_ps(normal, small,
                            _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(size), sign)));
}

// Sixty-four columns of the activations as floats, even and odd ones apart, in the panel's order: pair by pair, in each
// the panel's rows.
template <int kWidth>
struct Activations {
  void read(const std::byte* panel, int64_t pairs) {
    for (int64_t i = 0; i < pairs * kWidth; i += 16) {
      const __m512i both = _mm512_loadu_si512(panel + 4 * i);
      _mm512_store_si512(even + i, _mm512_slli_epi32(both, 16));
      _mm512_store_si512(odd + i, _mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
    }
  }
  alignas(64) float even[kPairs * kWidth], odd[kPairs * kWidth];
};

template <int kM, int kWidth>
class FewRows {
 public:
  explicit FewRows(const ProductArgs& args)
      : args_(args),
        rows_of_(args.w),
        block_(args.w.scale != nullptr && args.w.block_cols < args.w.in_features ? args.w.block_cols : 0) {}

  void run() {
    for (int64_t j = 0; j < args_.n; j += kRows) strip(j);
  }

 private:
  // Sixteen weight rows, or what there is left of them: then the last one stands in for those that are not there.
  void strip(int64_t j) {
    const int64_t rows = std::min(kRows, args_.n - j), columns = args_.w.in_features;
    for (int64_t r = 0; r < kRows; ++r)
      row_[r] = rows_of_.data + (args_.first_n + j + std::min(r, rows - 1)) * rows_of_.row_bytes;
    __m512 total[kM], result[kM];
    for (int i = 0; i < kM; ++i) total[i] = result[i] = _mm512_setzero_ps();
    for (int64_t k = 0; k < columns; k += kColumns) {
      add_columns(k, std::min(kColumns, columns - k), result);
      if (block_ == 0 || ((k + kColumns) % block_ != 0 && k + kColumns < columns)) continue;
      const __m512 scale = scales(j, rows, k / block_);
      for (int i = 0; i < kM; ++i) {
        total[i] = _mm512_add_ps(total[i], _mm512_mul_ps(result[i], scale));
        result[i] = _mm512_setzero_ps();
      }
    }
    const auto mask = static_cast<__mmask16>((1U << rows) - 1);
    for (int i = 0; i < kM; ++i) {
      if (block_ == 0) total[i] = args_.w.scale ? _mm512_mul_ps(result[i], scales(j, rows, 0)) : result[i];
      _mm512_mask_storeu_ps(args_.c + i * args_.ldc + j, mask, total[i]);
    }
  }

  // The lanes' scales of block b of their columns.
  __m512 scales(int64_t j, int64_t rows, int64_t b) const {
    const Weight& w = args_.w;
    const int64_t first = w.first_row + args_.first_n + j, cols = w.scale_cols();
    if (first / w.block_rows == (first + rows - 1) / w.block_rows)
      return _mm512_set1_ps(w.scale[first / w.block_rows * cols + b]);
    float scale[kRows];
    for (int64_t r = 0; r < kRows; ++r)
      scale[r] = w.scale[(first + std::min(r, rows - 1)) / w.block_rows * cols + b];
    return _mm512_loadu_ps(scale);
  }

  // result += up to 64 columns from k: one product of tiles for each 32 of them.
  void add_columns(int64_t k, int64_t count, __m512 (&result)[kM]) {
    const auto mask = count >= kColumns ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
    __m512i codes[kRows];  // first [row][column], then of lane `row` four columns each
    // What is read next lies in the same row, or in the one that takes its place.
    const int64_t ahead = kAhead + (k + kAhead < rows_of_.row_bytes ? 0 : (kRows - 1) * rows_of_.row_bytes);
    for (int64_t r = 0; r < kRows; ++r) {
      codes[r] = _mm512_maskz_loadu_epi8(mask, row_[r] + k);
      _mm_prefetch(reinterpret_cast<const char*>(row_[r] + k + ahead), _MM_HINT_T0);
    }
    transpose_16(codes);
    const int64_t pairs = count > kPairs ? kPairs : kPairs / 2;
    Activations<kWidth> x;
    x.read(args_.a + 2 * k * kWidth, pairs);
    for (int64_t first = 0; first < pairs; first += kPairs / 2) {
      __m512 even[kM], odd[kM];
      for (int i = 0; i < kM; ++i) even[i] = odd[i] = _mm512_setzero_ps();
      for (int64_t p = first; p < first + kPairs / 2; p += 2) {
        const __m512i four = codes[p / 2];
        const bool common = _mm512_testn_epi8_mask(four, _mm512_set1_epi8(0x78)) == 0;
        add_pair<0>(four, common, x, p, even, odd);
        add_pair<2>(four, common, x, p + 1, even, odd);
      }
      for (int i = 0; i < kM; ++i) result[i] = _mm512_add_ps(result[i], _mm512_add_ps(even[i], odd[i]));
    }
  }

  template <int column>
  static void add_pair(__m512i codes, bool common, const Activations<kWidth>& x, int64_t p,
                       __m512 (&even)[kM], __m512 (&odd)[kM]) {
    const __m512 first = f8_floats<column>(codes, common), second = f8_floats<column + 1>(codes, common);
    for (int i = 0; i < kM; ++i) {
      even[i] = _mm512_fmadd_ps(first, _mm512_set1_ps(x.even[p * kWidth + i]), even[i]);
      odd[i] = _mm512_fmadd_ps(second, _mm512_set1_ps(x.odd[p * kWidth + i]), odd[i]);
    }
  }

  const ProductArgs& args_;
  const RowSource rows_of_;
  const int64_t block_;  // columns that have a scale of their own; 0: there is one scale for all, or none
  const std::byte* row_[kRows] = {};
};

}  // namespace

void gemm_f8_few(const ProductArgs& args) noexcept {
  switch (args.m) {
    case 1:
      return FewRows<1, 1>(args).run();
    case 2:
      return FewRows<2, 2>(args).run();
    case 3:
      return FewRows<3, 4>(args).run();
    default:
      return FewRows<4, 4>(args).run();
  }
}

}  // namespace hadal::kernels::amx

#include "hadal/kernels/target_end.inc"
