#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "hadal_bridge.h"

#include "hadal/core/error.h"

namespace hadal::text {

/// A buffer of the bridge's as a string; gives the buffer back.
inline std::string take(hadal_buffer buffer) {
  const std::unique_ptr<hadal_buffer, void (*)(hadal_buffer*)> owner(
      &buffer, [](hadal_buffer* b) { hadal_buffer_free(*b); });
  return std::string(reinterpret_cast<const char*>(buffer.data), buffer.size);
}

inline const uint8_t* bytes_of(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

/// Calls the bridge: `call` gets the place for the error message and returns the status. A failure becomes
/// Error{kind} that begins with `where`; a panic of a library is the input's fault too, so it has the same kind.
template <class Call>
void bridge_call(ErrorKind kind, std::string_view where, Call&& call) {
  hadal_buffer error{};
  const hadal_status status = call(&error);
  if (status == HADAL_OK) return;
  const std::string reason = take(error);
  if (status == HADAL_PANICKED) fail(kind, "{}\n  the library gave up: {}", where, reason);
  fail(kind, "{}\n  {}", where, reason);
}

}  // namespace hadal::text
