#include "hadal/kernels/vector_avx512.h"
#include "hadal/kernels/vnni.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels::vnni {
namespace {

#include "hadal/kernels/swiglu.inc"

}  // namespace

void store_bf16(const float* x, int64_t n, std::byte* out) noexcept {
  for (int64_t i = 0; i < n; i += 16) {
    const auto mask = static_cast<__mmask16>(n - i >= 16 ? 0xffffU : (1U << (n - i)) - 1);
    _mm256_mask_storeu_epi16(out + 2 * i, mask, to_bf16_16(load_floats(x + i, n - i)));
  }
}

void swiglu(const float* gate, const float* up, float* y, int64_t n) noexcept {
  swiglu_all(gate, up, y, n);
}

}  // namespace hadal::kernels::vnni

#include "hadal/kernels/target_end.inc"
