#pragma once

#include <cstdint>

#include "hadal/core/json.h"

namespace hadal::serve {

enum class MessageUse : uint8_t { kAnswer, kCount };

/// The name that stands in a tool's input for arguments that are no JSON object, as they were written.
inline constexpr const char* kInvalidJson = "INVALID_JSON";

/// The body of Anthropic's POST /v1/messages (kCount: of .../count_tokens) as one of /v1/chat/completions: there sampling, tools
/// and templates are understood. Turns of one role in a row are one turn; a turn's tool results come before its text; an
/// assistant's turn at the end is the beginning of the answer. Throws ApiError: 400 for another type, 422 for what is out of range.
json chat_of_messages(const json& body, MessageUse use);

}  // namespace hadal::serve
