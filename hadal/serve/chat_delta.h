#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "hadal/core/json.h"

namespace hadal::serve {

/// A piece of an assistant's message.
struct ChatDelta {
  enum class Kind : uint8_t { kReasoning, kContent, kCallBegin, kArguments };
  Kind kind = Kind::kContent;
  std::string text{};  // of kCallBegin: the function's name
  int call = 0;        // which call
  std::string call_id{};
};

/// How a message ended, and what it took; so far, while it goes on.
struct ChatEnd {
  std::string finish_reason;  // stop, length or tool_calls, as chat completions have it
  json stop_reason;           // the stop string that ended it, or the token's id; else null
  int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, reasoning_tokens = 0;
};

}  // namespace hadal::serve
