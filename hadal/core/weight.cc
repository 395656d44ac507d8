#include "hadal/core/weight.h"

namespace hadal {

std::string_view to_string(Format format) {
  switch (format) {
    case Format::kF32:
      return "F32";
    case Format::kBF16:
      return "BF16";
    case Format::kF16:
      return "F16";
    case Format::kF8E4M3:
      return "F8_E4M3";
    case Format::kI8:
      return "I8";
    case Format::kI4:
      return "I4";
  }
  return "?";
}

int64_t bytes_per_element(Format format) {
  switch (format) {
    case Format::kF32:
      return 4;
    case Format::kBF16:
    case Format::kF16:
      return 2;
    case Format::kF8E4M3:
    case Format::kI8:
      return 1;
    case Format::kI4:
      break;
  }
  return 0;
}

int64_t bytes_per_row(Format format, int64_t cols) {
  if (format == Format::kI4) return (cols + kI4Block - 1) / kI4Block * (kI4Block / 2);
  return cols * bytes_per_element(format);
}

}  // namespace hadal
