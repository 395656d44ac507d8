#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hadal/core/json.h"
#include "hadal/serve/service.h"

namespace hadal::serve {

/// A prompt as it is computed.
struct Prompt {
  std::string text;  // what `echo` shows
  std::vector<int32_t> ids;
};

/// The `prompt` of /v1/completions: text, a list of texts, token ids, or a list of those. Text gets a BOS where the tokenizer
/// adds one, unless add_special is false; ids are taken as they are. Throws ApiError 400.
std::vector<Prompt> read_prompts(const Service& service, const json& prompt, bool add_special);

/// Fill in the middle, as DeepSeek-V3 was trained: begin, prefix, hole, suffix, end. Throws ApiError 400 for a model whose
/// tokenizer has no such tokens.
Prompt fill_in_prompt(const Service& service, const std::string& prefix, const std::string& suffix);

}  // namespace hadal::serve
