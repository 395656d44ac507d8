#pragma once

#include "hadal/kernels/kernel_table.h"

/// The entries of the row for AVX-512 with VNNI. Each function's contract stands in KernelTable.
namespace hadal::kernels::vnni {

int64_t i8_row_bytes(int64_t k) noexcept;
void pack_i8(const PackArgs& args) noexcept;
template <Format format>
void gemm_i8(const ProductArgs& args) noexcept;

}  // namespace hadal::kernels::vnni
