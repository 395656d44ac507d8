#pragma once

#include "hadal/kernels/kernel_table.h"

/// The entries of the row for AVX-512 with VNNI. Each function's contract stands in KernelTable.
namespace hadal::kernels::vnni {

void pack_i8(const PackArgs& args) noexcept;
template <Format format>
void gemm_i8(const ProductArgs& args) noexcept;

void store_bf16(const float* x, int64_t n, std::byte* out) noexcept;
float store_f8(const float* x, int64_t n, std::byte* codes) noexcept;
void f8_to_bf16(const std::byte* codes, int64_t n, float scale, std::byte* out) noexcept;
void expand_f8(const std::byte* codes, int64_t n, float* out) noexcept;
void swiglu(const float* gate, const float* up, float* y, int64_t n) noexcept;
template <Format format>
void gemm(const GemmArgs& args) noexcept;
template <Format format>
void gemm_transposed(const GemmTransposedArgs& args) noexcept;
void attend(const AttendArgs& args) noexcept;

}  // namespace hadal::kernels::vnni
