#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hadal::serve {

/// Amounts of money are whole millionths of the currency's unit.
inline constexpr int64_t kMicro = 1'000'000;
inline constexpr int64_t kMaxAmount =
    1'000'000'000 * kMicro;  // of a balance or a top-up; sums of them stay in 64 bits
inline constexpr int64_t kMaxPrice = 1'000'000 * kMicro;  // for a million tokens

/// What a request took. All of a prompt's tokens are either hits or misses of the prefix cache.
struct Usage {
  int64_t prompt_cache_hit_tokens = 0, prompt_cache_miss_tokens = 0, completion_tokens = 0;

  int64_t tokens() const { return prompt_cache_hit_tokens + prompt_cache_miss_tokens + completion_tokens; }
  bool operator==(const Usage&) const = default;
};

/// Of a million tokens each.
struct Price {
  int64_t cache_hit = 0, cache_miss = 0, output = 0;

  bool operator==(const Price&) const = default;
};

/// What the usage costs, rounded up to a whole millionth once, at the end. Counts are at most 2^31.
int64_t cost(const Usage& usage, const Price& price);

/// "1.25" as 1250000: digits with at most six after a point. Empty for anything else and for more than `most`.
std::optional<int64_t> parse_amount(std::string_view text, int64_t most);

/// "1.25", without zeros at the end but with two digits after the point at least.
std::string format_amount(int64_t amount);

/// Two digits after the point, as DeepSeek shows a balance; rounded down, so that it never shows more than there is.
std::string format_balance(int64_t amount);

}  // namespace hadal::serve
