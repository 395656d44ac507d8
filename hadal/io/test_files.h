#pragma once

#include <string>
#include <string_view>

#include "hadal/core/test_files.h"

namespace hadal::io {

using hadal::contains;
using hadal::error_of;
using hadal::TempFolder;

/// A safetensors file image: the header's length, the header, and as many data bytes.
inline std::string safetensors_image(std::string_view header, size_t data_bytes) {
  std::string file;
  for (size_t i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i));
  file += header;
  for (size_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i);
  return file;
}

}  // namespace hadal::io
