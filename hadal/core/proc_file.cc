#include "hadal/core/proc_file.h"

#include <algorithm>
#include <charconv>
#include <fstream>

namespace hadal {

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::optional<int64_t> number_in(std::string_view text) {
  const size_t at = text.find_first_not_of(' ');
  int64_t value = 0;
  if (at == std::string_view::npos) return std::nullopt;
  const auto result = std::from_chars(text.data() + at, text.data() + text.size(), value);
  return result.ec == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<int64_t> number_of(const fs::path& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name)) return number_in(std::string_view(line).substr(name.size()));
  }
  return std::nullopt;
}

std::vector<NumberedEntry> numbered(const fs::path& folder, std::string_view prefix) {
  std::vector<NumberedEntry> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    int number = 0;
    const char* const last = name.data() + name.size();
    const auto result = std::from_chars(name.data() + prefix.size(), last, number);
    if (result.ec == std::errc() && result.ptr == last && number >= 0) found.push_back({number, it->path()});
  }
  std::ranges::sort(found, {}, &NumberedEntry::number);
  return found;
}

}  // namespace hadal
