#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hadal/serve/fields.h"
#include "hadal/serve/service.h"
#include "hadal/serve/submission.h"

namespace hadal::serve {

/// What the endpoints that generate have in common.
struct GenerationOptions {
  std::string model;                  // as the request names it
  Submission request;                 // without its prompt
  std::optional<int64_t> max_tokens;  // empty: as the endpoint says
  std::vector<std::string> stop;
  bool include_stop = false, skip_special = true;
  bool seeded = false;  // the request names a seed; choice i has seed + i
  int64_t n = 1;
  bool stream = false, include_usage = false, usage_on_each = false;
  bool token_ids_as_tokens = false, return_token_ids = false;
};

/// The fields, under all the names that OpenAI, DeepSeek, vLLM and SGLang give them.
std::vector<FieldRule> generation_rules();

/// Throws ApiError.
GenerationOptions read_generation(const FieldReader& fields, const Service& service);

/// The model that a request names: any name, unless names are strict. Throws ApiError 404.
void check_model(const FieldReader& fields, const Service& service);

/// The number of tokens that an answer to such a prompt may have. Throws ApiError 400, in the words that clients look for, when
/// prompt and answer are more than the context.
int64_t answer_room(const Service& service, int64_t prompt_tokens, std::optional<int64_t> wanted);

/// Draws choice number `choice` of a request: with the seed it named, or one of its own.
Submission submission_for(const GenerationOptions& options, std::vector<int32_t> prompt, int64_t max_tokens,
                          int64_t choice);

}  // namespace hadal::serve
