#pragma once

#include "hadal/kernels/kernel_table.h"

/// The entries of the rows for AVX2, and for AVX2 with VNNI. Each function's contract stands in KernelTable.
namespace hadal::kernels {

namespace avx2 {
void gemm_i8(const ProductArgs& args) noexcept;
void gemm_i4(const ProductArgs& args) noexcept;
}  // namespace avx2

namespace avx2_vnni {
void gemm_i8(const ProductArgs& args) noexcept;
void gemm_i4(const ProductArgs& args) noexcept;
}  // namespace avx2_vnni

}  // namespace hadal::kernels
