#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "hadal/core/error.h"
#include "hadal/engine/sampler.h"

namespace hadal::engine {

using RequestId = int64_t;

/// Ids in, ids out: the engine sees no text.
struct Request {
  std::vector<int32_t> prompt;
  Sampling sampling;
  int64_t max_tokens = 200;  // at most; fewer where the context ends; 0 only where the prompt is scored
  int64_t min_tokens = 0;    // no stop token before so many
  std::vector<int32_t> stop_token_ids;  // end of sequence and what else ends the answer
  /// Called once before each draw with the answer so far; returns the allowed ids as bits, which stay until the next call, or
  /// nothing for all of them. By one thread at a time, not always the same.
  std::function<std::span<const uint32_t>(std::span<const int32_t> answer)> token_mask;
  int32_t num_prompt_logprobs =
      -1;                  // as Sampling::num_logprobs, of the prompt's own tokens from the second on
  int32_t priority = 0;    // the smaller goes first; among equals, who came first
  std::string cache_salt;  // prefixes are shared among requests of the same salt only
};

/// Why an answer ended: a stop token, the length, or the caller.
enum class FinishReason : uint8_t { kStop, kLength, kCancelled };

/// A request begins to run, perhaps again, after it was preempted. The first so many tokens of its prompt were in the cache.
struct StartedEvent {
  RequestId id = 0;
  int64_t num_cached_tokens = 0;
};
/// What the model says to the prompt's own tokens from number `first` on; together, all but the first token.
struct PromptEvent {
  RequestId id = 0;
  int64_t first = 1;
  std::vector<Sampled> tokens;
};
/// One more token of a request.
struct TokenEvent {
  RequestId id = 0;
  Sampled sampled;
};
/// The end of a request; no further event follows.
struct FinishedEvent {
  RequestId id = 0;
  FinishReason reason = FinishReason::kStop;
};
/// The other end: a step failed with this request in it. The engine goes on.
struct FailedEvent {
  RequestId id = 0;
  ErrorKind kind = ErrorKind::kInternal;
  std::string message;
};
using Event = std::variant<StartedEvent, PromptEvent, TokenEvent, FinishedEvent, FailedEvent>;

}  // namespace hadal::engine
