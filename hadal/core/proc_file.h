#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hadal {

// Small files under /proc and /sys, as Linux writes them.

/// A file's first line; empty when it cannot be read.
std::string first_line(const std::filesystem::path& path);

/// The number that the text starts with, after spaces; none for "max".
std::optional<int64_t> number_in(std::string_view text);

/// The number behind a name that begins a line, such as "MemTotal:" or "file "; none when no line does.
std::optional<int64_t> number_of(const std::filesystem::path& path, std::string_view name);

/// Entries "<prefix><number>" of a folder, such as cpu0, cpu1, ..., by their numbers.
struct NumberedEntry {
  int number = 0;
  std::filesystem::path path;
};
std::vector<NumberedEntry> numbered(const std::filesystem::path& folder, std::string_view prefix);

}  // namespace hadal
