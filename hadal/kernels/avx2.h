#pragma once

#include "hadal/kernels/kernel_table.h"

/// The entries of the rows for AVX2, and for AVX2 with VNNI. Each function's contract stands in KernelTable.
namespace hadal::kernels {

namespace avx2 {
void gemm_i8(const ProductArgs& args) noexcept;
void gemm_i4(const ProductArgs& args) noexcept;

template <Format format>
void gemm(const GemmArgs& args) noexcept;
template <Format format>
void gemm_transposed(const GemmTransposedArgs& args) noexcept;
void attend(const AttendArgs& args) noexcept;

void rmsnorm(const float* x, int64_t ldx, const float* weight, float* y, int64_t ldy, int64_t rows, int64_t n,
             double eps) noexcept;
void swiglu(const float* gate, const float* up, float* y, int64_t n) noexcept;
void rope(float* x, int64_t head_stride, int64_t heads, int64_t pairs, const float* cosine,
          const float* sine) noexcept;
void pack_bf16(const float* x, int64_t k, int64_t block, float* packed) noexcept;
void store_bf16(const float* x, int64_t n, std::byte* out) noexcept;
}  // namespace avx2

namespace avx2_vnni {
void gemm_i8(const ProductArgs& args) noexcept;
void gemm_i4(const ProductArgs& args) noexcept;
}  // namespace avx2_vnni

}  // namespace hadal::kernels
