#include "hadal/core/error.h"

namespace hadal {

std::string_view to_string(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kUsage:
      return "usage";
    case ErrorKind::kConfig:
      return "config";
    case ErrorKind::kCheckpoint:
      return "checkpoint";
    case ErrorKind::kRequest:
      return "request";
    case ErrorKind::kCapacity:
      return "capacity";
    case ErrorKind::kIo:
      return "io";
    case ErrorKind::kInternal:
      return "internal";
  }
  return "internal";
}

std::string to_string(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

void check_failed(const char* file, int line, const char* condition, const std::string& message) {
  fail(ErrorKind::kInternal, "{}:{}: {} (expected {})\n  hint      this is a bug in hadal, please report it",
       file, line, message, condition);
}

}  // namespace hadal
