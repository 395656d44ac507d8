#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace hadal {

/// What went wrong, as the caller has to treat it: exit code, HTTP status, whose fault.
enum class ErrorKind : uint8_t { kUsage, kConfig, kCheckpoint, kRequest, kCapacity, kIo, kInternal };

std::string_view to_string(ErrorKind kind);

/// The one exception type. The message says where, what, expected, found and a hint (docs/architecture.md#errors).
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

/// Throws Error{kind, the formatted message}.
template <class... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

/// "[2, 3]", as shapes are printed in every message.
std::string to_string(std::span<const int64_t> shape);

/// The message of a failed HADAL_CHECK; throws kInternal.
[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& message);

}  // namespace hadal

/// A broken promise between our own functions: always on. Untrusted input has errors of its own kinds instead.
#define HADAL_CHECK(condition, ...)                                                      \
  do {                                                                                   \
    if (!(condition)) [[unlikely]]                                                       \
      ::hadal::check_failed(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__)); \
  } while (false)

/// The same in hot loops: on in debug and sanitizer builds only.
#ifdef NDEBUG
#define HADAL_DCHECK(condition, ...) static_cast<void>(0)
#else
#define HADAL_DCHECK(condition, ...) HADAL_CHECK(condition, __VA_ARGS__)
#endif
