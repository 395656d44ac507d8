#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "hadal/core/json.h"

namespace hadal::text {

inline constexpr const char* kTinyChat = "models/tiny-chat";
inline constexpr const char* kCases = "tests/data/text/";  // made by tools/golden/make_text_cases.py

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// Calls `test` with each line's object.
inline void for_each_case(const std::string& path, const std::function<void(const json&)>& test) {
  const std::string lines = read_text_file(path, int64_t{64} << 20, ErrorKind::kIo);
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());
    if (end > begin)
      test(parse_json(std::string_view(lines).substr(begin, end - begin), path, ErrorKind::kIo));
    begin = end + 1;
  }
}

}  // namespace hadal::text
