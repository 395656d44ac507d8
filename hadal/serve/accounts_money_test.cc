#include "hadal/serve/accounts_money.h"

#include <gtest/gtest.h>

namespace hadal::serve {
namespace {

constexpr Price kChat{.cache_hit = 70'000, .cache_miss = 270'000, .output = 1'100'000};

TEST(AccountsMoney, Cost) {
  EXPECT_EQ(cost({1'000'000, 1'000'000, 1'000'000}, kChat), 70'000 + 270'000 + 1'100'000);
  EXPECT_EQ(cost({0, 1000, 500}, kChat), 270 + 550);
  EXPECT_EQ(cost({}, kChat), 0);
  EXPECT_EQ(cost({5, 5, 5}, {}), 0);
}

TEST(AccountsMoney, CostIsRoundedUpOnce) {
  EXPECT_EQ(cost({1, 0, 0}, kChat), 1);     // 0.07
  EXPECT_EQ(cost({10, 1, 1}, kChat), 3);    // 0.7 + 0.27 + 1.1 = 2.07
  EXPECT_EQ(cost({0, 100, 0}, kChat), 27);  // exactly
  EXPECT_EQ(cost({1, 0, 0}, {1, 0, 0}), 1);
}

TEST(AccountsMoney, TheLargestFits) {
  constexpr int64_t kMost = int64_t{1} << 31;
  // 3 * 2^31 / 10^6 * 10^12: 6442.450944 million millionths of millions
  EXPECT_EQ(cost({kMost, kMost, kMost}, {kMaxPrice, kMaxPrice, kMaxPrice}), 6'442'450'944'000'000);
}

TEST(AccountsMoney, Parse) {
  EXPECT_EQ(parse_amount("0", kMaxAmount), 0);
  EXPECT_EQ(parse_amount("0.07", kMaxAmount), 70'000);
  EXPECT_EQ(parse_amount("12.000001", kMaxAmount), 12'000'001);
  EXPECT_EQ(parse_amount("1000000000", kMaxAmount), kMaxAmount);
  for (const char* text : {"", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", " 1", "1 ", "0.0000001", "nan",
                           "0x1", "1000000000.000001", "99999999999999999999", "1.2.3"})
    EXPECT_EQ(parse_amount(text, kMaxAmount), std::nullopt) << text;
}

TEST(AccountsMoney, Format) {
  EXPECT_EQ(format_amount(0), "0.00");
  EXPECT_EQ(format_amount(1'250'000), "1.25");
  EXPECT_EQ(format_amount(70'001), "0.070001");
  EXPECT_EQ(format_amount(-1'500'000), "-1.50");
  EXPECT_EQ(format_balance(110'000'000), "110.00");
  EXPECT_EQ(format_balance(9'999), "0.00");
  EXPECT_EQ(format_balance(1'239'999), "1.23");
  EXPECT_EQ(format_balance(-1), "-0.01");
  EXPECT_EQ(format_balance(-2'000'000), "-2.00");
}

}  // namespace
}  // namespace hadal::serve
