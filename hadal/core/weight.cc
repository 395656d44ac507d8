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
      return 1;
  }
  return 0;
}

}  // namespace hadal
