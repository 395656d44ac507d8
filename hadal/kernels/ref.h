#pragma once

#include "hadal/kernels/kernel_table.h"

namespace hadal::kernels {

/// The reference row. Each function's contract stands in KernelTable.
const KernelTable& ref_table();

namespace ref {

void rmsnorm(const float* x, int64_t ldx, const float* weight, float* y, int64_t ldy, int64_t rows, int64_t n,
             double eps) noexcept;
void swiglu(const float* gate, const float* up, float* y, int64_t n) noexcept;
void rope(float* x, int64_t head_stride, int64_t heads, int64_t pairs, const float* cosine,
          const float* sine) noexcept;

void pack_f32(const float* x, int64_t k, int64_t block, float* packed) noexcept;
void pack_bf16(const float* x, int64_t k, int64_t block, float* packed) noexcept;
void pack_f8(const float* x, int64_t k, int64_t block, bool ue8m0, float* packed, float* scale) noexcept;

void store_bf16(const float* x, int64_t n, std::byte* out) noexcept;
float store_f8(const float* x, int64_t n, std::byte* codes) noexcept;
void f8_to_bf16(const std::byte* codes, int64_t n, float scale, std::byte* out) noexcept;

template <Format format>
void expand(const std::byte* w, int64_t n, float* out) noexcept;
template <Format format>
void gemm(const GemmArgs& args) noexcept;
template <Format format>
void gemm_transposed(const GemmTransposedArgs& args) noexcept;

int64_t i8_row_bytes(int64_t k) noexcept;
void pack_i8(const PackArgs& args) noexcept;
template <Format format>
void gemm_i8(const ProductArgs& args) noexcept;

void attend(const AttendArgs& args) noexcept;

}  // namespace ref
}  // namespace hadal::kernels
