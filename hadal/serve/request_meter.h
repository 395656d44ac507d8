#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

#include "hadal/engine/request.h"
#include "hadal/serve/metrics.h"

namespace hadal::serve {

/// What an HTTP request made the engine do: numbers and names, never text. Generation tells it, /metrics and the request log read
/// it; so no handler has to. On the connection's strand.
class RequestMeter {
 public:
  using Moment = std::chrono::steady_clock::time_point;

  /// One prompt and choice in the engine.
  struct Run {
    Moment submitted{}, started{}, first_token{}, last_token{}, ended{};  // the epoch: not yet
    int64_t prompt_tokens = 0, cached_tokens = 0, tokens = 0;
    std::string_view finish_reason;  // stop, length, abort, error; empty while it runs
  };

  explicit RequestMeter(Moment received) : received_(received) {}

  /// metrics outlives the meter. Choices: answers to each prompt, whose runs come one after the other.
  void begin(Metrics& metrics, size_t num_choices);
  void submit(size_t number, int64_t prompt_tokens, Moment now);
  void see(size_t number, const engine::Event& event, Moment now);
  /// All tokens that came together have been seen.
  void end_of_batch(Moment now);
  /// The run is over, whatever the engine says later. One that has ended stays as it was.
  void end(size_t number, std::string_view reason, Moment now);
  void add_reasoning_tokens(int64_t count) { reasoning_tokens_ += count; }

  const std::vector<Run>& runs() const { return runs_; }
  Moment received() const { return received_; }
  /// The sums over the request, each prompt counted once for all its choices.
  int64_t prompt_tokens() const;
  int64_t cached_tokens() const;
  int64_t completion_tokens() const;
  int64_t reasoning_tokens() const { return reasoning_tokens_; }
  /// Seconds until the first run began, and from the arrival to the first token of all; negative: never.
  double queue_seconds() const;
  double first_token_seconds() const;

 private:
  Metrics* metrics_ = nullptr;
  size_t num_choices_ = 1;
  Moment received_;
  std::vector<Run> runs_;
  std::vector<size_t> fresh_;  // runs with a token in this batch
  int64_t reasoning_tokens_ = 0;
};

}  // namespace hadal::serve
