#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <variant>
#include <vector>

#include "hadal/engine/sampler.h"

namespace hadal::engine {

using RequestId = int64_t;

/// Ids in, ids out: the engine sees no text.
struct Request {
  std::vector<int32_t> prompt;
  Sampling sampling;
  int64_t max_tokens = 200;             // at most; fewer where the context ends
  int64_t min_tokens = 0;               // no stop token before so many
  std::vector<int32_t> stop_token_ids;  // end of sequence and what else ends the answer
  /// Called before each draw with the answer so far; returns the allowed ids as bits, or nothing for all of them.
  std::function<std::span<const uint32_t>(std::span<const int32_t> answer)> token_mask;
};

/// Why an answer ended: a stop token, the length, or the caller.
enum class FinishReason : uint8_t { kStop, kLength, kCancelled };

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
using Event = std::variant<TokenEvent, FinishedEvent>;

}  // namespace hadal::engine
