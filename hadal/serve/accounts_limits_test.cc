#include "hadal/serve/accounts_limits.h"

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

using namespace std::chrono_literals;

const TokenBucket::Steady kStart{1000h};

// 0: taken; else the status.
int take(Limiter& limiter, const KeyLimits& limits, int64_t tokens, TokenBucket::Steady now,
         int64_t* retry_after = nullptr) {
  try {
    limiter.take("a", limits, tokens, now);
    return 0;
  } catch (const ApiError& e) {
    if (retry_after != nullptr) *retry_after = e.retry_after.value_or(-1);
    return e.status();
  }
}

TEST(Limiter, RequestsPerMinute) {
  Limiter limiter;
  const KeyLimits limits{.requests_per_minute = 3};
  for (int i = 0; i < 3; ++i) EXPECT_EQ(take(limiter, limits, 1, kStart), 0);
  int64_t wait = 0;
  EXPECT_EQ(take(limiter, limits, 1, kStart, &wait), 429);
  EXPECT_EQ(wait, 20);  // one in 60 s / 3
  EXPECT_EQ(take(limiter, limits, 1, kStart + 19999ms, &wait), 429);
  EXPECT_EQ(wait, 1);
  EXPECT_EQ(take(limiter, limits, 1, kStart + 20000ms), 0);
  EXPECT_EQ(take(limiter, limits, 1, kStart + 20001ms), 429);
  EXPECT_EQ(take(limiter, limits, 1, kStart - 1h), 429);  // a clock that goes back gives nothing
}

TEST(Limiter, TokensPerMinute) {
  Limiter limiter;
  const KeyLimits limits{.tokens_per_minute = 600};
  int64_t wait = 0;
  EXPECT_EQ(take(limiter, limits, 601, kStart, &wait), 422);
  EXPECT_EQ(take(limiter, limits, 500, kStart), 0);
  EXPECT_EQ(take(limiter, limits, 130, kStart, &wait), 429);
  EXPECT_EQ(wait, 3);  // 30 are missing, 10 come a second
  limiter.end("a", 450);
  EXPECT_EQ(take(limiter, limits, 550, kStart), 0);
  limiter.end("a", 600);  // never more than a minute's worth
  EXPECT_EQ(take(limiter, limits, 600, kStart), 0);
  EXPECT_EQ(take(limiter, limits, 1, kStart), 429);
}

TEST(Limiter, Concurrency) {
  Limiter limiter;
  const KeyLimits limits{.concurrent_requests = 2};
  EXPECT_EQ(take(limiter, limits, 1, kStart), 0);
  EXPECT_EQ(take(limiter, limits, 1, kStart), 0);
  int64_t wait = 0;
  EXPECT_EQ(take(limiter, limits, 1, kStart, &wait), 429);
  EXPECT_EQ(wait, 1);
  EXPECT_EQ(limiter.running("a"), 2);
  limiter.end("a", 0);
  EXPECT_EQ(take(limiter, limits, 1, kStart), 0);
}

TEST(Limiter, WhatIsRefusedTakesNothing) {
  Limiter limiter;
  const KeyLimits limits{.requests_per_minute = 1, .tokens_per_minute = 10, .concurrent_requests = 1};
  EXPECT_EQ(take(limiter, limits, 11, kStart), 422);
  EXPECT_EQ(take(limiter, limits, 10, kStart), 0);
  limiter.undo("a", 10);
  EXPECT_EQ(limiter.running("a"), 0);
  EXPECT_EQ(take(limiter, limits, 10, kStart), 0);
}

TEST(Limiter, KeysDoNotShare) {
  Limiter limiter;
  const KeyLimits limits{.requests_per_minute = 1};
  limiter.take("a", limits, 1, kStart);
  limiter.take("b", limits, 1, kStart);
  EXPECT_EQ(take(limiter, limits, 1, kStart), 429);
}

// T39: a thousand random steps of a fake clock; in no window more than burst + rate * t.
TEST(Limiter, NeverAboveBurstPlusRate) {
  Limiter limiter;
  const KeyLimits limits{.requests_per_minute = 7, .tokens_per_minute = 1000};
  std::mt19937 random(1);
  std::vector<std::pair<TokenBucket::Steady, int64_t>> taken;
  auto now = kStart;
  for (int i = 0; i < 3000; ++i) {
    now += std::chrono::microseconds(random() % 4'000'000);
    const auto tokens = static_cast<int64_t>(1 + random() % 300);
    if (take(limiter, limits, tokens, now) == 0) taken.emplace_back(now, tokens);
  }
  ASSERT_GT(taken.size(), 100u);
  for (size_t first = 0; first < taken.size(); ++first) {
    double requests = 0, tokens = 0;
    for (size_t last = first; last < taken.size(); ++last) {
      const double minutes =
          std::chrono::duration<double>(taken[last].first - taken[first].first).count() / 60;
      requests += 1;
      tokens += static_cast<double>(taken[last].second);
      // The rests: one millisecond of either rate, for the bucket counts whole ones.
      ASSERT_LE(requests, 7 * (1 + minutes) + 0.001);
      ASSERT_LE(tokens, 1000 * (1 + minutes) + 0.02);
    }
  }
}

TEST(Limiter, SixtyFourThreadsRaceForAHundred) {
  Limiter limiter;
  std::atomic<int> admitted{0};
  std::vector<std::thread> threads;
  threads.reserve(64);
  for (int i = 0; i < 64; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 10; ++j) admitted += take(limiter, {.requests_per_minute = 100}, 1, kStart) == 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(admitted, 100);
  EXPECT_EQ(limiter.running("a"), 100);
}

}  // namespace
}  // namespace hadal::serve
