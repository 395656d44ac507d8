// The matrix products of the row with float activations; gemm_float.inc has the plan.
#include <algorithm>

#include "hadal/kernels/ref.h"
#include "hadal/kernels/vector_avx512.h"
#include "hadal/kernels/vnni.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels::vnni {
namespace {

#include "hadal/kernels/gemm_float.inc"

}  // namespace

template <Format format>
void gemm(const GemmArgs& args) noexcept {
  if (args.a_scale != nullptr) return ref::gemm<format>(args);
  multiply<format>(args);
}

template <Format format>
void gemm_transposed(const GemmTransposedArgs& args) noexcept {
  // Scales that change inside a vector stay with the reference row.
  if (args.w_scale && args.block_cols < args.cols && args.block_cols % kWidth != 0)
    return ref::gemm_transposed<format>(args);
  multiply_transposed<format>(args);
}

template void gemm<Format::kF32>(const GemmArgs&) noexcept;
template void gemm<Format::kBF16>(const GemmArgs&) noexcept;
template void gemm<Format::kF16>(const GemmArgs&) noexcept;
template void gemm<Format::kF8E4M3>(const GemmArgs&) noexcept;
template void gemm<Format::kI8>(const GemmArgs&) noexcept;
template void gemm_transposed<Format::kF32>(const GemmTransposedArgs&) noexcept;
template void gemm_transposed<Format::kBF16>(const GemmTransposedArgs&) noexcept;
template void gemm_transposed<Format::kF16>(const GemmTransposedArgs&) noexcept;
template void gemm_transposed<Format::kF8E4M3>(const GemmTransposedArgs&) noexcept;
template void gemm_transposed<Format::kI8>(const GemmTransposedArgs&) noexcept;

}  // namespace hadal::kernels::vnni

#include "hadal/kernels/target_end.inc"
