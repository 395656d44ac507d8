#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hadal/core/json.h"
#include "hadal/serve/generation_fields.h"
#include "hadal/serve/service.h"
#include "hadal/text/tools.h"

namespace hadal::serve {

/// A conversation that waits for its next message: as chat completions, Anthropic's messages and OpenAI's responses all become.
struct ChatRequest {
  GenerationOptions options;
  std::vector<int32_t> prompt;
  int64_t max_tokens = 0;
  bool separate_reasoning = true;  // thoughts apart from the answer
  bool include_reasoning = true;
  bool calls_tools = false;  // the answer may have calls
};

/// Reads the body of /v1/chat/completions, but not whether its answer has room: max_tokens stays 0. Throws ApiError.
ChatRequest read_chat_prompt(const json& body, const Service& service);

/// Reads all of it. Throws ApiError.
ChatRequest read_chat_request(const json& body, const Service& service);

}  // namespace hadal::serve
