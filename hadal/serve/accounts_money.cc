#include "hadal/serve/accounts_money.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

namespace hadal::serve {

int64_t cost(const Usage& usage, const Price& price) {
  const std::array<std::pair<int64_t, int64_t>, 3> products{
      {{usage.prompt_cache_hit_tokens, price.cache_hit},
       {usage.prompt_cache_miss_tokens, price.cache_miss},
       {usage.completion_tokens, price.output}}};
  constexpr int64_t kPer = 1'000'000;  // tokens that a price is for
  int64_t whole = 0, rest = 0;         // in parts, because a product of the largest is beyond 64 bits
  for (const auto& [tokens, each] : products) {
    whole += tokens / kPer * each;
    rest += tokens % kPer * each;
  }
  return whole + (rest + kPer - 1) / kPer;
}

std::optional<int64_t> parse_amount(std::string_view text, int64_t most) {
  const size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  const std::string_view part = point == std::string_view::npos ? "0" : text.substr(point + 1);
  const auto digits = [](std::string_view s) {
    return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  if (!digits(whole) || !digits(part) || whole.size() > 10 || part.size() > 6) return std::nullopt;
  int64_t amount = 0;
  for (const char c : whole) amount = amount * 10 + (c - '0');
  for (size_t i = 0; i < 6; ++i) amount = amount * 10 + (i < part.size() ? part[i] - '0' : 0);
  return amount <= most ? std::optional(amount) : std::nullopt;
}

std::string format_amount(int64_t amount) {
  const int64_t size = amount < 0 ? -amount : amount;
  std::string text = fmt::format("{}{}.{:06}", amount < 0 ? "-" : "", size / kMicro, size % kMicro);
  for (int i = 0; i < 4 && text.back() == '0'; ++i) text.pop_back();
  return text;
}

std::string format_balance(int64_t amount) {
  constexpr int64_t kHundredth = kMicro / 100;
  int64_t hundredths = amount / kHundredth;
  if (amount % kHundredth < 0) --hundredths;
  const int64_t size = hundredths < 0 ? -hundredths : hundredths;
  return fmt::format("{}{}.{:02}", hundredths < 0 ? "-" : "", size / 100, size % 100);
}

}  // namespace hadal::serve
