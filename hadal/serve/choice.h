#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hadal/engine/request.h"
#include "hadal/serve/generation_fields.h"
#include "hadal/text/detokenizer.h"
#include "hadal/text/stop_strings.h"

namespace hadal::serve {

/// One answer as it comes: tokens in, text out, until its end. Pure.
class Choice {
 public:
  Choice(const Service& service, const GenerationOptions& options);

  /// Throws ApiError when the request has failed.
  void take(const engine::Event& event);

  /// What is new since the last call: shown text, and tokens (the stop token too).
  std::string take_text();
  std::vector<engine::Sampled> take_tokens();
  const std::vector<engine::Sampled>& prompt_logprobs() const { return prompt_logprobs_; }

  bool is_finished() const { return finished_; }
  /// True if the engine need not go on with it: a stop string has been seen.
  bool is_stopped() const { return stops_.stopped(); }
  std::string_view finish_reason() const { return by_length_ ? "length" : "stop"; }
  /// vLLM's stop_reason: the stop string or token id that ended it, null for the end of sequence.
  json stop_reason() const;

  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_cached_tokens() const { return num_cached_; }

 private:
  void take_token(const engine::Sampled& sampled);
  void finish();

  const Service& service_;
  std::vector<int32_t> stop_token_ids_;
  bool include_stop_ = false;
  text::Detokenizer detokenizer_;
  text::StopStrings stops_;
  std::string text_;
  std::vector<engine::Sampled> tokens_, prompt_logprobs_;
  int64_t num_tokens_ = 0, num_cached_ = 0;
  int32_t last_token_ = -1;
  bool finished_ = false, by_length_ = false;
};

/// OpenAI's and DeepSeek's usage object.
json usage_json(int64_t prompt, int64_t completion, int64_t cached, int64_t reasoning);

/// A token as text, what is no whole character as U+FFFD; or, if the request wants that, "token_id:7".
std::string token_text(const Service& service, int32_t token, bool as_id = false);

/// JSON has no infinity.
double finite_logprob(float logprob);

}  // namespace hadal::serve
