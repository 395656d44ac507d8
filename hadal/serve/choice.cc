#include "hadal/serve/choice.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/api_error.h"

namespace hadal::serve {
Choice::Choice(const Service& service, const GenerationOptions& options)
    : service_(service),
      stop_token_ids_(options.request.stop_token_ids),
      include_stop_(options.include_stop),
      detokenizer_(service.tokenizer, options.skip_special),
      stops_(options.stop) {}

void Choice::take(const engine::Event& event) {
  if (finished_) return;
  if (const auto* started = std::get_if<engine::StartedEvent>(&event)) {
    if (num_tokens_ == 0) num_cached_ = started->num_cached_tokens;
  } else if (const auto* prompt = std::get_if<engine::PromptEvent>(&event)) {
    prompt_logprobs_.insert(prompt_logprobs_.end(), prompt->tokens.begin(), prompt->tokens.end());
  } else if (const auto* token = std::get_if<engine::TokenEvent>(&event)) {
    take_token(token->sampled);
  } else if (const auto* end = std::get_if<engine::FinishedEvent>(&event)) {
    // We cancel only what has no reader any more; so this is the server's end.
    if (end->reason == engine::FinishReason::kCancelled)
      throw ApiError(503, "The server ends before the answer does.");
    by_length_ = end->reason == engine::FinishReason::kLength;
    finish();
  } else if (const auto* failed = std::get_if<engine::FailedEvent>(&event)) {
    throw to_api_error(Error(failed->kind, failed->message));
  }
}

void Choice::take_token(const engine::Sampled& sampled) {
  ++num_tokens_;
  last_token_ = sampled.token;
  tokens_.push_back(sampled);
  if (std::ranges::find(stop_token_ids_, sampled.token) != stop_token_ids_.end()) return;
  text_ += stops_.push(detokenizer_.push(sampled.token));
  if (stops_.stopped()) finish();
}

void Choice::finish() {
  if (std::exchange(finished_, true)) return;
  if (!stops_.stopped()) {
    text_ += stops_.push(detokenizer_.finish());
    text_ += stops_.finish();
  }
  if (stops_.stopped() && include_stop_) text_ += stops_.matched();
}

std::string Choice::take_text() {
  return std::exchange(text_, {});
}

std::vector<engine::Sampled> Choice::take_tokens() {
  return std::exchange(tokens_, {});
}

json Choice::stop_reason() const {
  if (stops_.stopped()) return stops_.matched();
  const auto& ends = service_.stop_token_ids;
  if (by_length_ || std::ranges::find(stop_token_ids_, last_token_) == stop_token_ids_.end() ||
      std::ranges::find(ends, last_token_) != ends.end())
    return nullptr;
  return last_token_;
}

json usage_json(int64_t prompt, int64_t completion, int64_t cached, int64_t reasoning) {
  return {{"prompt_tokens", prompt},
          {"completion_tokens", completion},
          {"total_tokens", prompt + completion},
          {"prompt_cache_hit_tokens", cached},
          {"prompt_cache_miss_tokens", prompt - cached},
          {"prompt_tokens_details", {{"cached_tokens", cached}}},
          {"completion_tokens_details", {{"reasoning_tokens", reasoning}}}};
}

std::string token_text(const Service& service, int32_t token, bool as_id) {
  if (as_id) return fmt::format("token_id:{}", token);
  if (service.tokenizer.token(token).empty()) return "";  // a padded vocabulary has ids without a token
  return service.tokenizer.decode(std::span(&token, 1), false);
}

double finite_logprob(float logprob) {
  constexpr float kLeast = -9999.0F;  // vLLM's
  return std::max(logprob, kLeast);
}

}  // namespace hadal::serve
