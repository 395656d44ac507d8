#include "hadal/kernels/ref.h"

namespace hadal::kernels {

const KernelTable& ref_table() {
  static const KernelTable table = {
      .isa = "ref",
      .rmsnorm = ref::rmsnorm,
      .swiglu = ref::swiglu,
      .rope = ref::rope,
      .pack_f32 = ref::pack_f32,
      .pack_bf16 = ref::pack_bf16,
      .pack_f8 = ref::pack_f8,
      .store_bf16 = ref::store_bf16,
      .store_f8 = ref::store_f8,
      .f8_to_bf16 = ref::f8_to_bf16,
      .expand = {ref::expand<Format::kF32>, ref::expand<Format::kBF16>, ref::expand<Format::kF16>,
                 ref::expand<Format::kF8E4M3>, ref::expand<Format::kI8>, nullptr},
      .gemm = {ref::gemm<Format::kF32>, ref::gemm<Format::kBF16>, ref::gemm<Format::kF16>,
               ref::gemm<Format::kF8E4M3>, ref::gemm<Format::kI8>, ref::gemm<Format::kI4>},
      .gemm_transposed = {ref::gemm_transposed<Format::kF32>, ref::gemm_transposed<Format::kBF16>,
                          ref::gemm_transposed<Format::kF16>, ref::gemm_transposed<Format::kF8E4M3>,
                          ref::gemm_transposed<Format::kI8>, ref::gemm_transposed<Format::kI4>},
      .bf16 = {},
      .i8 = {{},
             {},
             {},
             {},
             {ref::i8_row_bytes, ref::pack_i8, ref::gemm_i8<Format::kI8>},
             {ref::i8_row_bytes, ref::pack_i8, ref::gemm_i8<Format::kI4>}},
      .attend = ref::attend,
      .attend_tiles = nullptr,
      .pair_rows = nullptr,
      .pair_floats = nullptr,
  };
  return table;
}

}  // namespace hadal::kernels
