#pragma once

#include <string_view>

#include <fmt/format.h>

namespace hadal {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

/// The process's one logger: lines on stderr, never on stdout, which belongs to the product. Thread-safe.
/// Never give it prompts or completions.
void log_line(LogLevel level, std::string_view line);

/// Lines below this level are dropped. Default: kWarning, so that a command's stderr stays quiet.
void set_log_level(LogLevel level);

template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace hadal
