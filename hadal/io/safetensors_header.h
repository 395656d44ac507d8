#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hadal/io/safetensors.h"

namespace hadal::io {

/// What a safetensors header says of one tensor. shape and dtype are known to need exactly end - begin bytes;
/// whether the file has these bytes is for the caller to see.
struct HeaderEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape{};
  int64_t begin = 0, end = 0;  // from the first byte after the header
};

/// Reads the JSON of a header, in its own order. Throws kCheckpoint for anything that the format does not have:
/// other or repeated keys, an unknown dtype, negative or overflowing sizes, more than kMaxTensors or kMaxRank.
std::vector<HeaderEntry> read_safetensors_header(std::string_view header, const std::string& where);

}  // namespace hadal::io
