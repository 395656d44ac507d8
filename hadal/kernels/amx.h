#pragma once

#include "hadal/kernels/kernel_table.h"

/// The entries of the row for AMX (Sapphire Rapids and later). Each function's contract stands in KernelTable.
namespace hadal::kernels::amx {

int64_t bf16_row_bytes(int64_t k) noexcept;
void pack_bf16(const PackArgs& args) noexcept;
void pack_i8(const PackArgs& args) noexcept;
template <Format format>
void gemm_bf16(const ProductArgs& args) noexcept;
/// gemm_bf16<kF8E4M3> for args.m <= kFewRows, called where denormal numbers are zero.
inline constexpr int64_t kFewRows = 4;
void gemm_f8_few(const ProductArgs& args) noexcept;
template <Format format>
void gemm_i8(const ProductArgs& args) noexcept;

void attend_tiles(const TileAttendArgs& args) noexcept;
void pair_rows(const std::byte* a, const std::byte* b, int64_t n, std::byte* out) noexcept;
void pair_floats(const float* a, const float* b, int64_t n, std::byte* out) noexcept;

}  // namespace hadal::kernels::amx
