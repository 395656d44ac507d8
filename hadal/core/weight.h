#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hadal {

/// How numbers are stored. The last two are hadal's own quantised formats (docs/formats.md#quantised).
enum class Format : uint8_t { kF32, kBF16, kF16, kF8E4M3, kI8, kI4 };
inline constexpr int kNumFormats = 6;

std::string_view to_string(Format format);
/// Of one number; not for kI4, whose numbers share bytes.
int64_t bytes_per_element(Format format);
/// Of one row of `cols` numbers. A row of kI4 is padded to whole blocks of kI4Block.
int64_t bytes_per_row(Format format, int64_t cols);

/// Columns of kI4 in 32 bytes: byte i holds column i in its low half and column 32 + i in its high half.
inline constexpr int64_t kI4Block = 64;

/// A linear map y = x W^T in whatever format the checkpoint has. A view: the checkpoint's mapping owns the bytes.
/// data is [out_features, in_features], row-major. The value of element (n, k) is
///   kF8E4M3  code * scale[(first_row + n) / block_rows][k / block_cols]
///   kI8      code * scale[first_row + n][k / block_cols]: block_rows = 1; block_cols = in_features, or a group's width
///   kI4      (code - z) * s * scale[first_row + n] with s | z << 4 = group_code[first_row + n][k / group], code 0..15,
///            and s * |code - z| <= 127 for every code: times s it is an 8-bit integer again. block_cols = in_features
/// and scale is null for the other formats.
struct Weight {
  std::string_view name;  // the HF name: every error can say which tensor
  Format format = Format::kF32;
  int64_t out_features = 0, in_features = 0;
  const std::byte* data = nullptr;
  const float* scale = nullptr;  // [ceil(stored rows / block_rows), ceil(in_features / block_cols)]
  int64_t block_rows = 0, block_cols = 0;
  const uint8_t* group_code = nullptr;  // kI4: [stored rows, ceil(in_features / group)]
  int64_t group = 0;                    // kI4: 32, 64 or 128 columns
  int64_t first_row =
      0;  // of the stored tensor; not 0 in a view of some rows, which share their block scales

  bool empty() const { return data == nullptr; }
  int64_t row_bytes() const { return bytes_per_row(format, in_features); }
  int64_t bytes() const { return out_features * row_bytes(); }
  bool is_integer() const { return format == Format::kI8 || format == Format::kI4; }
  int64_t scale_cols() const { return scale ? (in_features + block_cols - 1) / block_cols : 0; }
  int64_t group_cols() const { return group_code ? (in_features + group - 1) / group : 0; }

  /// Rows [begin, begin + count) as a map of their own.
  Weight rows(int64_t begin, int64_t count) const {
    Weight part = *this;
    part.data += begin * row_bytes();
    part.out_features = count;
    part.first_row += begin;
    return part;
  }
};

}  // namespace hadal
