#include <bit>
#include <cmath>
#include <cstring>

#include "hadal/core/dtype.h"
#include "hadal/kernels/avx512.h"
#include "hadal/kernels/pack.h"
#include "hadal/kernels/vnni.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels::vnni {
namespace {

__mmask16 mask_of(int64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffffU : (1U << count) - 1);
}

// Sixteen codes as floats. Seven bits further left they are FP16 numbers of 2^-8 the value, denormals included.
__m512 f8_floats(__m128i codes) {
  const __m256i wide = _mm256_cvtepi8_epi16(codes);  // the sign in all upper bits
  const __m256i magnitude =
      _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16(static_cast<int16_t>(0xbfff)));
  return _mm512_mul_ps(_mm512_cvtph_ps(magnitude), _mm512_set1_ps(256.0F));
}

// Sixteen floats of at most 448 as codes, as to_f8e4m3() of core/dtype.h.
__m128i f8_codes(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512 size = _mm512_abs_ps(x);
  const __m512i size_bits = _mm512_castps_si512(size);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 20), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(size_bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7ffff)));
  const __m512i normal = _mm512_sub_epi32(_mm512_srli_epi32(rounded, 20), _mm512_set1_epi32(120 << 3));
  const __m512i steps = _mm512_cvtps_epi32(_mm512_mul_ps(size, _mm512_set1_ps(0x1p9F)));
  const __mmask16 small = _mm512_cmp_ps_mask(size, _mm512_set1_ps(0x1p-6F), _CMP_LT_OQ);
  const __m512i sign = _mm512_and_si512(_mm512_srli_epi32(bits, 24), _mm512_set1_epi32(0x80));
  return _mm512_cvtepi32_epi8(_mm512_or_si512(_mm512_mask_mov_epi32(normal, small, steps), sign));
}

}  // namespace

float store_f8(const float* x, int64_t n, std::byte* codes) noexcept {
  __m512i largest = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i += 16) {
    const __m512i bits = _mm512_castps_si512(_mm512_abs_ps(load_floats(x + i, n - i)));
    largest = _mm512_max_epu32(largest, bits);
  }
  const float scale = f8_scale(_mm512_reduce_max_epu32(largest));
  const __m512 inverse = _mm512_set1_ps(1.0F / scale);
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 scaled = _mm512_mul_ps(load_floats(x + i, n - i), inverse);
    _mm_mask_storeu_epi8(codes + i, mask_of(n - i), f8_codes(scaled));
  }
  return scale;
}

// In integers: from code to BF16 the exponent moves by three bits and becomes that of the product. Codes whose exponent is 0
// are looked up.
void f8_to_bf16(const std::byte* codes, int64_t n, float scale, std::byte* out) noexcept {
  if (std::isnan(scale)) {
    const bf16 nan = to_bf16(scale);
    for (int64_t i = 0; i < n; ++i) std::memcpy(out + 2 * i, &nan, sizeof nan);
    return;
  }
  const int exponent = static_cast<int>(std::bit_cast<uint32_t>(scale) >> 23) - 7;
  const __m512i bias = _mm512_set1_epi16(static_cast<int16_t>(exponent << 7));
  // 0 to 7 times 2^-9 as BF16; but for zero, 120 has been taken from the exponents, as the bias has it.
  const __m128i steps = _mm_set_epi16(0x60, 0x40, 0x20, 0, -0x40, -0x80, -0x100, 0);
  const __m512i small_values = _mm512_maskz_add_epi16(0xfe, bias, _mm512_zextsi128_si512(steps));
  const __m512i sign = _mm512_set1_epi16(static_cast<int16_t>(0x8000));
  for (int64_t i = 0; i < n; i += 32) {
    const auto mask = static_cast<__mmask32>(n - i >= 32 ? ~0U : (1U << (n - i)) - 1);
    const __m512i wide = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, codes + i));
    const __m512i moved =
        _mm512_and_si512(_mm512_slli_epi16(wide, 4), _mm512_set1_epi16(static_cast<int16_t>(0x87f0)));
    const __mmask32 is_small = _mm512_testn_epi16_mask(wide, _mm512_set1_epi16(0x78));
    const __m512i looked_up =
        _mm512_or_si512(_mm512_permutexvar_epi16(wide, small_values), _mm512_and_si512(moved, sign));
    const __m512i values = _mm512_mask_mov_epi16(_mm512_add_epi16(moved, bias), is_small, looked_up);
    _mm512_mask_storeu_epi16(out + 2 * i, mask, values);
  }
}

void expand_f8(const std::byte* codes, int64_t n, float* out) noexcept {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = mask_of(n - i);
    _mm512_mask_storeu_ps(out + i, mask, f8_floats(_mm_maskz_loadu_epi8(mask, codes + i)));
  }
}

}  // namespace hadal::kernels::vnni

#include "hadal/kernels/target_end.inc"
