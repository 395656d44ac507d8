#include <algorithm>

#include "hadal/kernels/avx512.h"
#include "hadal/kernels/ref.h"
#include "hadal/kernels/vnni.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels::vnni {
namespace {

// Sixteen weights as floats.
template <Format format>
__m512 load_weights(const std::byte* w, __mmask16 mask) {
  if constexpr (format == Format::kBF16) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, w)), 16));
  } else {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, w)));
  }
}

constexpr int64_t kColumns = 256;  // of c in registers: 16 of the 32

// c[begin .. begin + kColumns) of row i, sums over the weight's rows in ascending order.
template <Format format>
void transposed_columns(const GemmTransposedArgs& args, int64_t i, int64_t begin) {
  constexpr int64_t kSums = kColumns / 16;
  __m512 sum[kSums];
  __mmask16 mask[kSums];
  for (int64_t s = 0; s < kSums; ++s) {
    sum[s] = _mm512_setzero_ps();
    const int64_t left = std::clamp<int64_t>(args.cols - begin - 16 * s, 0, 16);
    mask[s] = static_cast<__mmask16>((1U << left) - 1);
  }
  constexpr int64_t kBytes = format == Format::kBF16 ? 2 : 1;
  for (int64_t j = 0; j < args.rows; ++j) {
    float factor = args.a[i * args.lda + j];
    if (format == Format::kI8) factor *= args.w_scale[(args.first_row + j) * args.w_scale_stride];
    const __m512 factors = _mm512_set1_ps(factor);
    const std::byte* w = args.w + (j * args.cols + begin) * kBytes;
    for (int64_t s = 0; s < kSums; ++s) {
      sum[s] = _mm512_fmadd_ps(factors, load_weights<format>(w + s * 16 * kBytes, mask[s]), sum[s]);
    }
  }
  float* c = args.c + i * args.ldc + begin;
  for (int64_t s = 0; s < kSums; ++s) _mm512_mask_storeu_ps(c + 16 * s, mask[s], sum[s]);
}

}  // namespace

void store_bf16(const float* x, int64_t n, std::byte* out) noexcept {
  for (int64_t i = 0; i < n; i += 16) {
    const auto mask = static_cast<__mmask16>(n - i >= 16 ? 0xffffU : (1U << (n - i)) - 1);
    _mm256_mask_storeu_epi16(out + 2 * i, mask, to_bf16_16(load_floats(x + i, n - i)));
  }
}

void swiglu(const float* gate, const float* up, float* y, int64_t n) noexcept {
  const __m512 one = _mm512_set1_ps(1.0F);
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 g = load_floats(gate + i, n - i), u = load_floats(up + i, n - i);
    const __m512 e = exp_16(_mm512_sub_ps(_mm512_setzero_ps(), g));
    const __m512 value = _mm512_mul_ps(_mm512_div_ps(g, _mm512_add_ps(one, e)), u);
    const auto mask = static_cast<__mmask16>(n - i >= 16 ? 0xffffU : (1U << (n - i)) - 1);
    _mm512_mask_storeu_ps(y + i, mask, value);
  }
}

template <Format format>
void gemm_transposed(const GemmTransposedArgs& args) noexcept {
  for (int64_t i = 0; i < args.m; ++i) {
    for (int64_t begin = 0; begin < args.cols; begin += kColumns) transposed_columns<format>(args, i, begin);
  }
}

// Block scales along the columns stay with the reference row; kI8 has one scale a row, or is in groups.
void gemm_transposed_i8(const GemmTransposedArgs& args) noexcept {
  if (args.block_cols < args.cols) return ref::gemm_transposed<Format::kI8>(args);
  gemm_transposed<Format::kI8>(args);
}

template void gemm_transposed<Format::kBF16>(const GemmTransposedArgs&) noexcept;

}  // namespace hadal::kernels::vnni

#include "hadal/kernels/target_end.inc"
