// Many threads at one engine: nobody's tokens change, nobody waits for ever, nothing is lost.
#include "hadal/engine/engine_loop.h"

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"
#include "hadal/core/test_random.h"

namespace hadal::tests {
namespace {

const engine::EngineLimits kLimits{.max_num_seqs = 6, .max_tokens_per_step = 64, .kv_cache_tokens = 1024};

engine::Request request(uint32_t number) {
  engine::Request r;
  TestRandom random(number % 7 + 1);  // some prompts come again
  for (int64_t i = 0; i < 5 + number % 90; ++i) r.prompt.push_back(static_cast<int32_t>(random.below(4000)));
  r.sampling.seed = number;
  r.max_tokens = 4 + number % 20;
  return r;
}

// What a handler has heard; somebody may wait for the end.
struct Heard {
  std::mutex mutex;
  std::condition_variable ended;
  std::vector<int32_t> tokens;
  int ends = 0;
  std::string failure;

  void hear(const engine::Event& event) {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(ends, 0) << "nothing comes after the end";
    if (const auto* token = std::get_if<engine::TokenEvent>(&event)) tokens.push_back(token->sampled.token);
    if (const auto* failed = std::get_if<engine::FailedEvent>(&event)) failure = failed->message;
    if (std::holds_alternative<engine::FinishedEvent>(event) || !failure.empty()) {
      ++ends;
      ended.notify_all();
    }
  }
  void wait() {
    std::unique_lock lock(mutex);
    ended.wait(lock, [this] { return ends > 0; });
  }
};

class EngineLoopTest : public testing::Test {
 protected:
  EngineLoopTest()
      : pool_(2),
        model_(model::load_model("models/tiny-chat", pool_)),
        engine_(model_, pool_, {}, kLimits),
        loop_(engine_, 1000) {}

  std::vector<int32_t> alone(const engine::Request& request) {
    engine::Engine engine(model_, pool_, {}, kLimits);
    engine.submit(request);
    std::vector<int32_t> tokens;
    while (engine.step([&](const engine::Event& event) {
      if (const auto* token = std::get_if<engine::TokenEvent>(&event)) tokens.push_back(token->sampled.token);
    })) {
    }
    return tokens;
  }

  void expect_empty() {
    const engine::EngineStats stats = engine_.stats();
    EXPECT_EQ(stats.running, 0);
    EXPECT_EQ(stats.waiting, 0);
    EXPECT_EQ(stats.pages_used, 0) << "all pages came back";
  }

  ThreadPool pool_;
  model::Model model_;
  engine::Engine engine_;
  engine::EngineLoop loop_;
};

TEST_F(EngineLoopTest, AnswersAreThoseOfARequestAlone) {
  constexpr uint32_t kThreads = 4, kEach = 8;
  std::map<uint32_t, std::vector<int32_t>> expected;
  for (uint32_t n = 0; n < kThreads * kEach; ++n) expected[n] = alone(request(n));
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < kEach; ++i) {
        const uint32_t number = t * kEach + i;
        Heard heard;
        loop_.submit(request(number), [&](const engine::Event& event) { heard.hear(event); });
        heard.wait();
        EXPECT_EQ(heard.tokens, expected.at(number)) << number;
      }
    });
  }
  std::thread stopper([&] {
    for (std::thread& thread : threads) thread.join();
    loop_.stop();
  });
  loop_.run();
  stopper.join();
  expect_empty();
}

// Both reach the mailbox while a step runs, which looks at cancellations between its layers, before anybody has taken the request.
TEST_F(EngineLoopTest, ARequestCanBeCancelledBeforeItIsTakenIn) {
  Heard first, second;
  engine::Request endless = request(1);
  endless.max_tokens = 900;
  loop_.submit(request(0), [&](const engine::Event& event) {
    first.hear(event);
    if (!std::holds_alternative<engine::StartedEvent>(event)) return;
    loop_.cancel(loop_.submit(endless, [&](const engine::Event& e) { second.hear(e); }));
    loop_.stop();
  });
  loop_.run();
  EXPECT_EQ(first.ends, 1);
  EXPECT_EQ(second.ends, 1);
  EXPECT_TRUE(second.tokens.empty());
  expect_empty();
}

// Cancelled while they wait, prefill or answer, or after the end: each ends once, and its pages come back.
TEST_F(EngineLoopTest, AnyRequestCanBeCancelledAtAnyTime) {
  constexpr uint32_t kRequests = 60;
  std::vector<Heard> heard(kRequests);
  std::thread client([&] {
    TestRandom random(3);
    for (uint32_t i = 0; i < kRequests; ++i) {
      const auto ticket =
          loop_.submit(request(i), [&, i](const engine::Event& event) { heard[i].hear(event); });
      std::this_thread::sleep_for(std::chrono::microseconds(random.below(3000)));
      if (i % 3 != 0) loop_.cancel(ticket);
      if (i % 5 == 0) loop_.forget_prefixes();
      EXPECT_LE(loop_.stats().running, kLimits.max_num_seqs);
    }
    loop_.stop();
  });
  loop_.run();
  client.join();
  for (uint32_t i = 0; i < kRequests; ++i) EXPECT_EQ(heard[i].ends, 1) << i;
  for (uint32_t i = 0; i < kRequests; i += 3) EXPECT_EQ(heard[i].tokens, alone(request(i))) << i;
  expect_empty();
}

TEST_F(EngineLoopTest, AFailureIsItsOwnRequestsAlone) {
  engine::Request bad = request(1);
  bad.token_mask = [](std::span<const int32_t> answer) -> std::span<const uint32_t> {
    if (answer.size() == 3) fail(ErrorKind::kRequest, "this mask ends here");
    return {};
  };
  Heard failing, fine;
  loop_.submit(bad, [&](const engine::Event& event) { failing.hear(event); });
  loop_.submit(request(2), [&](const engine::Event& event) { fine.hear(event); });
  loop_.stop();
  loop_.run();
  EXPECT_EQ(failing.failure, "this mask ends here");
  EXPECT_EQ(failing.tokens.size(), 3U);
  EXPECT_EQ(fine.failure, "");
  EXPECT_EQ(fine.tokens, alone(request(2)));
  expect_empty();
}

TEST_F(EngineLoopTest, RefusesWhenTooManyWaitAndWhenItIsToEnd) {
  engine::EngineLoop loop(engine_, 2);
  std::vector<Heard> heard(9);
  for (Heard& one : heard) {
    const bool fits = &one - heard.data() < kLimits.max_num_seqs + 2;
    const auto submit = [&] {
      loop.submit(request(1), [&one](const engine::Event& event) { one.hear(event); });
    };
    if (fits) {
      submit();
    } else {
      EXPECT_TRUE(contains(error_of(ErrorKind::kCapacity, submit), {"queue", "at most 2"}));
    }
  }
  engine::Request wrong = request(1);
  wrong.sampling.temperature = -1.0F;
  EXPECT_TRUE(contains(error_of(ErrorKind::kRequest, [&] { loop.submit(wrong, nullptr); }), "temperature"));
  loop.abort();
  EXPECT_TRUE(
      contains(error_of(ErrorKind::kCapacity, [&] { loop.submit(request(1), nullptr); }), "about to end"));
  loop.run();
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(heard[i].ends, 1);
  expect_empty();
}

}  // namespace
}  // namespace hadal::tests
