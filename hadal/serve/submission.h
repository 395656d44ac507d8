#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hadal/engine/request.h"
#include "hadal/serve/grammar_cache.h"
#include "hadal/text/tokenizer.h"

namespace hadal::serve {

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

/// The same for the engine, with the constraint and the budget as its token mask. The cache outlives the request; a constraint that
/// it has not can take long to compile. Throws kRequest for one that does not.
engine::Request engine_request(const Submission& submission, GrammarCache& grammars, int64_t vocab_size);

}  // namespace hadal::serve
