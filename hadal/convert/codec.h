#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "hadal/convert/compensate.h"
#include "hadal/core/weight.h"

namespace hadal::convert {

/// Weights of smaller magnitude are stored as zero: their scale would leave the normal numbers.
inline constexpr float kSmallestWeight = 1e-30F;

/// INT8, one factor for the row: codes and the factor, the row's largest magnitude over 127.
float quantize_row_i8(std::span<const float> row, std::span<std::byte> codes);

/// INT4 with `group` columns in a group: the codes of a row (bytes_per_row(kI4, row.size()) bytes) and its group codes;
/// returns the row's factor. Steps are searched for the least squared error, and a group's zero is 7 or 8, whichever gives
/// its largest weight the code further away.
float quantize_row_i4(std::span<const float> row, int64_t group, std::span<std::byte> codes,
                      std::span<std::byte> groups);

/// The values that row n of a weight in kI8 or kI4 can have with the factors that it has.
Grid grid_of(const Weight& w, int64_t n);

/// Puts other codes into a row of that weight: codes as the grid counts them, `row` the bytes of row n.
void store_codes(const Weight& w, int64_t n, std::span<const float> codes, std::span<std::byte> row);

/// FP8: a block of `rows` rows, each `stride` apart in `values` and in `codes`, and `cols` columns. Returns its factor, the
/// largest magnitude over 448, as DeepSeek's.
float quantize_block_f8(const float* values, int64_t rows, int64_t cols, int64_t stride, std::byte* codes);

/// Row n of a weight in any format as FP32, by the formulas of docs/formats.md: in_features numbers.
void expand_row(const Weight& w, int64_t n, float* out);

}  // namespace hadal::convert
