#include "hadal/serve/accounts_limits.h"

#include <algorithm>

#include <fmt/format.h>

#include "hadal/core/round.h"
#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

[[noreturn]] void refuse(const std::string& message, int64_t seconds) {
  ApiError error(429, message);
  error.retry_after = seconds;
  throw error;
}

}  // namespace

void TokenBucket::fill(int64_t per_minute, Steady now) {
  const int64_t capacity = per_minute * kParts;
  if (rate_ != per_minute) {
    rate_ = per_minute;
    parts_ = capacity;
    filled_ = now;
    return;
  }
  const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - filled_);
  if (passed.count() <= 0) return;
  filled_ += passed;  // not `now`: what is left of a millisecond counts next time
  parts_ = std::min(capacity, parts_ + std::min<int64_t>(passed.count(), kParts) * rate_);
}

int64_t TokenBucket::seconds_until(int64_t amount) const {
  const int64_t missing = amount * kParts - parts_;
  if (missing <= 0) return 0;
  const int64_t milliseconds = ceil_div(missing, rate_);
  return (milliseconds + 999) / 1000;
}

void TokenBucket::put_back(int64_t amount) {
  if (rate_ >= 0) parts_ = std::min(rate_ * kParts, parts_ + amount * kParts);
}

void Limiter::take(std::string_view id, const KeyLimits& limits, int64_t tokens, Steady now) {
  const std::lock_guard lock(mutex_);
  State& state = keys_[std::string(id)];
  if (limits.concurrent_requests && state.running >= *limits.concurrent_requests)
    refuse(fmt::format("This key has {} requests running, its limit.", state.running), 1);
  if (limits.tokens_per_minute && tokens > *limits.tokens_per_minute) {
    throw ApiError(
        422,
        fmt::format("This request may take {} tokens (prompt and max_tokens), and this key's limit is {} "
                    "a minute. Please ask for fewer max_tokens.",
                    tokens, *limits.tokens_per_minute),
        "max_tokens");
  }
  if (limits.requests_per_minute) {
    state.requests.fill(*limits.requests_per_minute, now);
    if (const int64_t wait = state.requests.seconds_until(1); wait > 0)
      refuse(fmt::format("Rate limit reached: {} requests a minute.", *limits.requests_per_minute), wait);
  }
  if (limits.tokens_per_minute) {
    state.tokens.fill(*limits.tokens_per_minute, now);
    if (const int64_t wait = state.tokens.seconds_until(tokens); wait > 0)
      refuse(fmt::format("Rate limit reached: {} tokens a minute.", *limits.tokens_per_minute), wait);
    state.tokens.take(tokens);
  }
  if (limits.requests_per_minute) state.requests.take(1);
  ++state.running;
}

void Limiter::end(std::string_view id, int64_t unused_tokens) {
  const std::lock_guard lock(mutex_);
  State& state = keys_[std::string(id)];
  state.tokens.put_back(unused_tokens);
  --state.running;
}

void Limiter::undo(std::string_view id, int64_t tokens) {
  end(id, tokens);
  const std::lock_guard lock(mutex_);
  keys_[std::string(id)].requests.put_back(1);
}

int64_t Limiter::running(std::string_view id) const {
  const std::lock_guard lock(mutex_);
  const auto found = keys_.find(std::string(id));
  return found == keys_.end() ? 0 : found->second.running;
}

}  // namespace hadal::serve
