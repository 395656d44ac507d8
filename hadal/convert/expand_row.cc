#include <cstring>
#include <type_traits>

#include "hadal/convert/codec.h"
#include "hadal/core/dtype.h"

namespace hadal::convert {
namespace {

template <class T>
T load(const std::byte* data, int64_t i) {
  T value;
  std::memcpy(&value, data + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

template <class T>
void expand(const std::byte* data, int64_t count, float* out) {
  for (int64_t k = 0; k < count; ++k) {
    if constexpr (std::is_arithmetic_v<T>) {
      out[k] = static_cast<float>(load<T>(data, k));
    } else {
      out[k] = to_float(load<T>(data, k));
    }
  }
}

// (code - z) * s: whole numbers of at most 127.
void expand_i4(const Weight& w, const std::byte* data, const uint8_t* groups, float* out) {
  for (int64_t k = 0; k < w.in_features; ++k) {
    const auto byte = static_cast<int>(data[k / kI4Block * (kI4Block / 2) + k % (kI4Block / 2)]);
    const int code = k % kI4Block < kI4Block / 2 ? byte & 15 : byte >> 4;
    const int factor = groups[k / w.group] & 15, zero = groups[k / w.group] >> 4;
    out[k] = static_cast<float>((code - zero) * factor);
  }
}

void expand_codes(const Weight& w, int64_t n, float* out) {
  const std::byte* data = w.data + n * w.row_bytes();
  switch (w.format) {
    case Format::kF32:
      return expand<float>(data, w.in_features, out);
    case Format::kBF16:
      return expand<bf16>(data, w.in_features, out);
    case Format::kF16:
      return expand<f16>(data, w.in_features, out);
    case Format::kF8E4M3:
      return expand<f8e4m3>(data, w.in_features, out);
    case Format::kI8:
      return expand<int8_t>(data, w.in_features, out);
    case Format::kI4:
      return expand_i4(w, data, w.group_code + (w.first_row + n) * w.group_cols(), out);
  }
}

}  // namespace

void expand_row(const Weight& w, int64_t n, float* out) {
  expand_codes(w, n, out);
  if (w.scale == nullptr) return;
  const float* scale = w.scale + (w.first_row + n) / w.block_rows * w.scale_cols();
  for (int64_t k = 0; k < w.in_features; ++k) out[k] *= scale[k / w.block_cols];
}

}  // namespace hadal::convert
