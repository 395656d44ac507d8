#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "hadal/core/error.h"

namespace hadal {

using json =
    nlohmann::ordered_json;  // insertion order: what a chat template prints with tojson depends on it

/// The deepest nesting that any JSON of ours or a user's is read with: no later walk can then be deep.
inline constexpr int kMaxJsonDepth = 64;

/// Parses untrusted text. Refused, as Error{kind} that begins with `where` (a file name, "messages", ...):
/// syntax errors (with line and column), nesting beyond kMaxJsonDepth, duplicate keys, invalid UTF-8, trailing bytes.
json parse_json(std::string_view text, const std::string& where, ErrorKind kind);

/// The whole file as text. kIo if it cannot be read, kind if it is larger than max_bytes.
std::string read_text_file(const std::string& path, int64_t max_bytes, ErrorKind kind);

/// read_text_file, then parse_json with the path as `where`.
json read_json_file(const std::string& path, int64_t max_bytes, ErrorKind kind);

}  // namespace hadal
