// Products of 8-bit activations with integer weights on AVX-VNNI, which multiplies unsigned by signed bytes: weights come
// plus 128, and 128 times the sum of the activations is subtracted.
#include <algorithm>
#include <bit>

#include <immintrin.h>

#include "hadal/kernels/avx2.h"
#include "hadal/kernels/i4_table.h"
#include "hadal/kernels/ref.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx2_vnni_begin.inc"
// clang-format on

namespace hadal::kernels::avx2_vnni {
namespace {

constexpr bool kPlus128 = true;

__m256i add_products(__m256i sum, __m256i weights, __m256i codes) {
  return _mm256_dpbusd_avx_epi32(sum, weights, codes);
}

#include "hadal/kernels/product_avx2.inc"

}  // namespace

void gemm_i8(const ProductArgs& args) noexcept {
  multiply<Format::kI8>(args);
}
void gemm_i4(const ProductArgs& args) noexcept {
  multiply<Format::kI4>(args);
}

}  // namespace hadal::kernels::avx2_vnni

#include "hadal/kernels/target_end.inc"
