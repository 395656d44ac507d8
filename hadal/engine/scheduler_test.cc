#include "hadal/engine/scheduler.h"

#include <algorithm>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"
#include "hadal/core/test_random.h"

namespace hadal::engine {
namespace {

constexpr int64_t kPageSize = 16;

Request request(int64_t prompt, int64_t max_tokens) {
  Request r;
  r.prompt.assign(static_cast<size_t>(prompt), 1);
  r.max_tokens = max_tokens;
  return r;
}

// (id, tokens) of each part.
using Parts = std::vector<std::pair<RequestId, int64_t>>;

Parts parts(const std::vector<StepPlan::Part>& planned) {
  Parts result;
  for (const StepPlan::Part& part : planned) result.emplace_back(part.sequence->id, part.num_tokens);
  return result;
}

// What the engine does with a plan: computes, and draws a token wherever a prompt is complete. Ends nothing.
void compute(const StepPlan& plan) {
  for (const auto* list : {&plan.decode, &plan.prefill}) {
    for (const StepPlan::Part& part : *list) {
      part.sequence->num_computed += part.num_tokens;
      if (!part.sequence->is_prefilling()) part.sequence->answer.push_back(7);
    }
  }
}

class SchedulerTest : public testing::Test {
 protected:
  // Plans a step, computes it, and checks that it is this one.
  void expect_step(Scheduler& scheduler, const Parts& decode, const Parts& prefill) {
    const StepPlan plan = scheduler.plan();
    EXPECT_EQ(parts(plan.decode), decode);
    EXPECT_EQ(parts(plan.prefill), prefill);
    EXPECT_EQ(plan.empty(), decode.empty() && prefill.empty());
    compute(plan);
  }
};

TEST_F(SchedulerTest, CutsPromptsToTheBudgetThenDecodes) {
  Scheduler scheduler({.max_tokens_per_step = 10, .max_num_seqs = 4, .max_model_len = 1000}, 100, kPageSize);
  EXPECT_TRUE(scheduler.idle());
  scheduler.submit(1, request(25, 5));
  EXPECT_FALSE(scheduler.idle());
  expect_step(scheduler, {}, {{1, 10}});
  expect_step(scheduler, {}, {{1, 10}});
  expect_step(scheduler, {}, {{1, 5}});
  expect_step(scheduler, {{1, 1}}, {});
  expect_step(scheduler, {{1, 1}}, {});
  EXPECT_TRUE(scheduler.remove(1));
  EXPECT_TRUE(scheduler.idle());
  expect_step(scheduler, {}, {});
}

TEST_F(SchedulerTest, DecodeGoesFirst) {
  Scheduler scheduler({.max_tokens_per_step = 10, .max_num_seqs = 4, .max_model_len = 1000}, 100, kPageSize);
  scheduler.submit(1, request(3, 5));
  scheduler.submit(2, request(4, 5));
  scheduler.submit(3, request(20, 5));
  expect_step(scheduler, {}, {{1, 3}, {2, 4}, {3, 3}});
  expect_step(scheduler, {{1, 1}, {2, 1}}, {{3, 8}});
  scheduler.submit(4, request(2, 5));
  expect_step(scheduler, {{1, 1}, {2, 1}}, {{3, 8}});
  expect_step(scheduler, {{1, 1}, {2, 1}}, {{3, 1}, {4, 2}});
  expect_step(scheduler, {{1, 1}, {2, 1}, {3, 1}, {4, 1}}, {});
}

TEST_F(SchedulerTest, TheBudgetHoldsForDecodeToo) {
  Scheduler scheduler({.max_tokens_per_step = 2, .max_num_seqs = 4, .max_model_len = 1000}, 100, kPageSize);
  for (const RequestId id : {1, 2, 3}) scheduler.submit(id, request(1, 5));
  expect_step(scheduler, {}, {{1, 1}, {2, 1}});
  expect_step(scheduler, {{1, 1}, {2, 1}}, {});
  scheduler.remove(1);
  expect_step(scheduler, {{2, 1}}, {{3, 1}});
  expect_step(scheduler, {{2, 1}, {3, 1}}, {});
}

TEST_F(SchedulerTest, RunsNoMoreSequencesThanAllowed) {
  Scheduler scheduler({.max_tokens_per_step = 100, .max_num_seqs = 2, .max_model_len = 1000}, 100, kPageSize);
  for (const RequestId id : {1, 2, 3}) scheduler.submit(id, request(4, 5));
  expect_step(scheduler, {}, {{1, 4}, {2, 4}});
  expect_step(scheduler, {{1, 1}, {2, 1}}, {});
  scheduler.remove(2);
  expect_step(scheduler, {{1, 1}}, {{3, 4}});
}

TEST_F(SchedulerTest, GivesASequenceAllItsPagesWhenItStarts) {
  Scheduler scheduler({.max_tokens_per_step = 8, .max_num_seqs = 4, .max_model_len = 1000}, 100, kPageSize);
  scheduler.submit(1, request(20, 13));
  const StepPlan plan = scheduler.plan();
  ASSERT_EQ(plan.prefill.size(), 1U);
  EXPECT_EQ(plan.prefill[0].sequence->pages.size(), 3U) << "33 tokens, though this step computes 8";
}

// Request 2 waits for pages. Request 3 would fit, and still waits behind it.
TEST_F(SchedulerTest, NobodyOvertakes) {
  Scheduler scheduler({.max_tokens_per_step = 100, .max_num_seqs = 4, .max_model_len = 1000}, 4, kPageSize);
  scheduler.submit(1, request(16, 16));
  scheduler.submit(2, request(16, 32));
  scheduler.submit(3, request(4, 4));
  expect_step(scheduler, {}, {{1, 16}});
  expect_step(scheduler, {{1, 1}}, {});
  scheduler.remove(1);
  expect_step(scheduler, {}, {{2, 16}, {3, 4}});
}

TEST_F(SchedulerTest, RemovingAWaitingRequestLetsTheNextOneStart) {
  Scheduler scheduler({.max_tokens_per_step = 100, .max_num_seqs = 4, .max_model_len = 1000}, 4, kPageSize);
  scheduler.submit(1, request(16, 16));
  scheduler.submit(2, request(16, 48));
  scheduler.submit(3, request(4, 4));
  expect_step(scheduler, {}, {{1, 16}});
  EXPECT_TRUE(scheduler.remove(2));
  expect_step(scheduler, {{1, 1}}, {{3, 4}});
  EXPECT_FALSE(scheduler.remove(2)) << "gone already";
  EXPECT_FALSE(scheduler.remove(99)) << "never there";
}

TEST_F(SchedulerTest, RefusesWhatCanNeverRun) {
  Scheduler scheduler({.max_tokens_per_step = 100, .max_num_seqs = 4, .max_model_len = 100}, 4, kPageSize);
  const auto refusal = [&](ErrorKind kind, int64_t prompt, int64_t max_tokens) {
    return error_of(kind, [&] { scheduler.submit(1, request(prompt, max_tokens)); });
  };
  EXPECT_TRUE(contains(refusal(ErrorKind::kRequest, 0, 5), {"prompt", "at least one token"}));
  EXPECT_TRUE(contains(refusal(ErrorKind::kRequest, 100, 5), {"(100)", "100 tokens", "--max-model-len"}));
  EXPECT_TRUE(contains(refusal(ErrorKind::kCapacity, 60, 5), {"the whole cache", "65 tokens"}));
  EXPECT_TRUE(contains(refusal(ErrorKind::kCapacity, 1, 1000), "100 tokens"));
  for (const int64_t none : {int64_t{0}, int64_t{-1}, INT64_MIN}) {
    EXPECT_TRUE(contains(refusal(ErrorKind::kRequest, 5, none), {"max_tokens", "at least 1"}));
  }
  EXPECT_TRUE(scheduler.idle()) << "a refused request leaves nothing behind";
  EXPECT_NO_THROW(scheduler.submit(1, request(60, 4)));
}

TEST_F(SchedulerTest, CutsMaxTokensToTheContext) {
  Scheduler scheduler({.max_tokens_per_step = 100, .max_num_seqs = 4, .max_model_len = 50}, 100, kPageSize);
  scheduler.submit(1, request(40, INT64_MAX));
  scheduler.submit(2, request(49, 3));
  const StepPlan plan = scheduler.plan();
  ASSERT_EQ(plan.prefill.size(), 2U);
  EXPECT_EQ(plan.prefill[0].sequence->request.max_tokens, 10);
  EXPECT_EQ(plan.prefill[1].sequence->request.max_tokens, 1);
}

// Any requests, in any order, cancelled at any moment: the promises hold at each step, and in the end the pool is whole.
class Simulation {
 public:
  explicit Simulation(uint32_t seed)
      : random_(seed),
        limits_{1 + random_.below(40), 1 + random_.below(6), kPages * kPageSize},
        scheduler_(limits_, kPages, kPageSize) {}

  void run(int operations) {
    for (int i = 0; i < operations && !testing::Test::HasFatalFailure(); ++i) {
      const int64_t what = random_.below(10);
      if (what < 2) submit();
      if (what == 2) cancel();
      if (what > 2) step();
    }
    while (!scheduler_.idle() && !testing::Test::HasFatalFailure()) step();
    EXPECT_TRUE(alive_.empty());
    expect_whole_pool();
  }

 private:
  static constexpr int64_t kPages = 12;

  void submit() {
    alive_.insert(next_id_);
    scheduler_.submit(next_id_++, request(1 + random_.below(100), 1 + random_.below(50)));
  }

  // Waiting, prefilling, decoding, finished or never there.
  void cancel() {
    const RequestId id = next_id_ - random_.below(12);
    ASSERT_EQ(scheduler_.remove(id), alive_.erase(id) == 1) << id;
  }

  void step() {
    const StepPlan plan = scheduler_.plan();
    check(plan);
    compute(plan);
    std::vector<RequestId> done;
    for (const auto* list : {&plan.decode, &plan.prefill}) {
      for (const StepPlan::Part& part : *list) {
        const Sequence& s = *part.sequence;
        if (static_cast<int64_t>(s.answer.size()) == s.request.max_tokens) done.push_back(s.id);
      }
    }
    for (const RequestId id : done) {
      ASSERT_TRUE(scheduler_.remove(id));
      alive_.erase(id);
    }
  }

  void check(const StepPlan& plan) {
    ASSERT_EQ(plan.empty(), alive_.empty()) << "work is done whenever there is some";
    ASSERT_EQ(scheduler_.idle(), alive_.empty());
    int64_t tokens = 0, left_over = 0;
    std::set<int32_t> pages;
    std::set<RequestId> seen;
    for (const StepPlan::Part& part : plan.decode) {
      ASSERT_FALSE(part.sequence->is_prefilling());
      ASSERT_EQ(part.num_tokens, 1);
    }
    for (const StepPlan::Part& part : plan.prefill) {
      const int64_t left = part.sequence->num_prompt() - part.sequence->num_computed;
      ASSERT_GE(part.num_tokens, 1);
      ASSERT_LE(part.num_tokens, left);
      left_over += left - part.num_tokens;
    }
    for (const auto* list : {&plan.decode, &plan.prefill}) {
      ASSERT_TRUE(std::ranges::is_sorted(*list, {}, [](const auto& part) { return part.sequence->id; }));
      for (const StepPlan::Part& part : *list) {
        const Sequence& s = *part.sequence;
        ASSERT_TRUE(alive_.contains(s.id) && seen.insert(s.id).second);
        tokens += part.num_tokens;
        ASSERT_LE((s.num_computed + part.num_tokens + kPageSize - 1) / kPageSize, std::ssize(s.pages));
        for (const int32_t page : s.pages)
          ASSERT_TRUE(page >= 0 && page < kPages && pages.insert(page).second);
      }
    }
    ASSERT_LE(tokens, limits_.max_tokens_per_step);
    ASSERT_LE(std::ssize(seen), limits_.max_num_seqs);
    ASSERT_TRUE(left_over == 0 || tokens == limits_.max_tokens_per_step)
        << "a prompt is cut by the budget only";
  }

  void expect_whole_pool() {
    scheduler_.submit(next_id_, request(100, kPages * kPageSize - 100));
    const StepPlan plan = scheduler_.plan();
    ASSERT_EQ(plan.prefill.size(), 1U);
    const auto& pages = plan.prefill[0].sequence->pages;
    EXPECT_EQ(std::set<int32_t>(pages.begin(), pages.end()).size(), static_cast<size_t>(kPages));
  }

  TestRandom random_;
  SchedulerLimits limits_;
  Scheduler scheduler_;
  std::set<RequestId> alive_;
  RequestId next_id_ = 1;
};

TEST(Scheduler, KeepsItsPromisesUnderAnySequenceOfOperations) {
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    Simulation(seed).run(500);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace hadal::engine
