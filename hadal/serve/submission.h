#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hadal/engine/request.h"
#include "hadal/text/grammar.h"
#include "hadal/text/tokenizer.h"

namespace hadal::serve {

/// What an answer must look like.
struct Constraint {
  text::Grammar::Kind kind = text::Grammar::Kind::kJsonSchema;
  std::string source;
};

/// All that a handler asks of the engine, as plain values: the one thing that an answer's tokens are a function of, beside the
/// model. What can be written down and sent again (record.h).
struct Submission {
  std::vector<int32_t> prompt;
  engine::Sampling sampling;
  int64_t max_tokens = 0, min_tokens = 0;
  std::vector<int32_t> stop_token_ids;
  int32_t num_prompt_logprobs = -1;
  int32_t priority = 0;
  std::string cache_salt;
  std::optional<Constraint> constraint;
  bool thinks = false;  // the prompt ends inside thoughts: the constraint begins after </think>,
  std::optional<int64_t> thinking_budget;  // which comes after so many tokens at the latest
};

/// The same for the engine, with the constraint and the budget as its token mask. May wait: a schema can take long to compile. The
/// tokenizer outlives the request. Throws kRequest for a constraint that does not compile.
engine::Request engine_request(const Submission& submission, const text::Tokenizer& tokenizer,
                               int64_t vocab_size);

}  // namespace hadal::serve
