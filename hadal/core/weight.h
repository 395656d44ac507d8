#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hadal {

/// How numbers are stored.
enum class Format : uint8_t { kF32, kBF16, kF16, kF8E4M3 };

std::string_view to_string(Format format);
int64_t bytes_per_element(Format format);

/// A linear map y = x W^T in whatever format the checkpoint has. A view: the checkpoint's mapping owns the bytes.
/// data is [out_features, in_features], row-major. For kF8E4M3 the value of element (n, k) is
/// code * scale[(first_row + n) / block_rows][k / block_cols]; scale is null for the other formats.
struct Weight {
  std::string_view name;  // the HF name: every error can say which tensor
  Format format = Format::kF32;
  int64_t out_features = 0, in_features = 0;
  const std::byte* data = nullptr;
  const float* scale = nullptr;  // [ceil(stored rows / block_rows), ceil(in_features / block_cols)]
  int64_t block_rows = 0, block_cols = 0;
  int64_t first_row =
      0;  // of the stored tensor; not 0 in a view of some rows, which share their block scales

  bool empty() const { return data == nullptr; }
  int64_t bytes() const { return out_features * in_features * bytes_per_element(format); }
  int64_t scale_cols() const { return scale ? (in_features + block_cols - 1) / block_cols : 0; }

  /// Rows [begin, begin + count) as a map of their own.
  Weight rows(int64_t begin, int64_t count) const {
    Weight part = *this;
    part.data += begin * in_features * bytes_per_element(format);
    part.out_features = count;
    part.first_row += begin;
    return part;
  }
};

}  // namespace hadal
