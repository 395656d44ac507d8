// Products of 8-bit activations with integer weights on AVX2. The instruction that multiplies bytes takes one side
// unsigned and saturates at 16 bits, so it gets |a| and the weight with a's sign: two products are at most 32,258.
#include <algorithm>
#include <bit>

#include <immintrin.h>

#include "hadal/kernels/avx2.h"
#include "hadal/kernels/i4_table.h"
#include "hadal/kernels/ref.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx2_begin.inc"
// clang-format on

namespace hadal::kernels::avx2 {
namespace {

constexpr bool kPlus128 = false;

__m256i add_products(__m256i sum, __m256i weights, __m256i codes) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(weights, codes));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#include "hadal/kernels/product_avx2.inc"

}  // namespace

void gemm_i8(const ProductArgs& args) noexcept {
  multiply<Format::kI8>(args);
}
void gemm_i4(const ProductArgs& args) noexcept {
  multiply<Format::kI4>(args);
}

}  // namespace hadal::kernels::avx2

#include "hadal/kernels/target_end.inc"
