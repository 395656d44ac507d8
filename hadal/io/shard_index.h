#pragma once

#include <map>
#include <string>
#include <string_view>

namespace hadal::io {

/// Reads the text of a model.safetensors.index.json: {"metadata": {...}, "weight_map": {tensor name: file name}}.
/// Throws kCheckpoint, beginning with `where`: other or repeated keys, a value that is no text, a file name that is
/// not one plain component (^[A-Za-z0-9._-]+\.safetensors$), so that an index cannot point out of its folder.
/// "metadata" is not used: its total_size is wrong in many uploads.
std::map<std::string, std::string> parse_shard_index(std::string_view text, const std::string& where);

}  // namespace hadal::io
