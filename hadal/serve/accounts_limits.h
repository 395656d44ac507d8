#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace hadal::serve {

/// What a key may do at once; none: as much as it likes.
struct KeyLimits {
  std::optional<int64_t> requests_per_minute{}, tokens_per_minute{}, concurrent_requests{}, monthly_tokens{};
};

/// A bucket that holds a minute's worth and fills evenly. In any time t at most `per_minute * (1 + t / min)` are taken.
class TokenBucket {
 public:
  using Steady = std::chrono::steady_clock::time_point;
  /// Fills it up to now; full the first time, or when the rate changes to another.
  void fill(int64_t per_minute, Steady now);
  /// Seconds until it has so many, rounded up; 0: it has them.
  int64_t seconds_until(int64_t amount) const;
  void take(int64_t amount) { parts_ -= amount * kParts; }
  void put_back(int64_t amount);

 private:
  static constexpr int64_t kParts = 60'000;  // a rate of one a minute is one part a millisecond
  int64_t rate_ = -1;                        // a minute
  int64_t parts_ = 0;
  Steady filled_;
};

/// Rates and concurrency of all keys, in memory: after a restart buckets are full. Thread-safe.
class Limiter {
 public:
  using Steady = TokenBucket::Steady;
  /// Takes a request with so many tokens, all or nothing. Throws ApiError: 429 with retry_after when it has to wait, 422 when
  /// it is more than a minute's tokens and could wait for ever.
  void take(std::string_view id, const KeyLimits& limits, int64_t tokens, Steady now);
  /// The request is over; unused tokens go back.
  void end(std::string_view id, int64_t unused_tokens);
  /// The request was refused elsewhere: as if it had not been.
  void undo(std::string_view id, int64_t tokens);
  /// Requests of this key that have not ended.
  int64_t running(std::string_view id) const;

 private:
  struct State {
    TokenBucket requests, tokens;
    int64_t running = 0;
  };
  mutable std::mutex mutex_;
  std::unordered_map<std::string, State> keys_;  // by account; only keys that were right come here
};

}  // namespace hadal::serve
