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
void compute(Scheduler& scheduler, const StepPlan& plan) {
  for (const auto* list : {&plan.decode, &plan.prefill}) {
    for (const StepPlan::Part& part : *list) {
      const bool draws = part.draws();
      scheduler.commit(part);
      if (draws) part.sequence->answer.push_back(7);
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
    compute(scheduler, plan);
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

TEST_F(SchedulerTest, APromptGetsItsPagesWhenItStartsAndAnAnswerAsItGrows) {
  Scheduler scheduler({.max_tokens_per_step = 20, .max_num_seqs = 4, .max_model_len = 1000}, 100, kPageSize);
  scheduler.submit(1, request(31, 13));
  StepPlan plan = scheduler.plan();
  ASSERT_EQ(plan.prefill.size(), 1U);
  const Sequence& sequence = *plan.prefill[0].sequence;
  EXPECT_EQ(sequence.pages.size(), 2U) << "31 tokens, though this step computes 20";
  compute(scheduler, plan);
  expect_step(scheduler, {}, {{1, 11}});
  expect_step(scheduler, {{1, 1}}, {});
  EXPECT_EQ(sequence.pages.size(), 2U);
  expect_step(scheduler, {{1, 1}}, {});
  EXPECT_EQ(sequence.pages.size(), 3U) << "the 33rd token";
}

// Request 2 waits for pages. Request 3 would fit, and still waits behind it.
TEST_F(SchedulerTest, NobodyOvertakes) {
  Scheduler scheduler({.max_tokens_per_step = 100, .max_num_seqs = 4, .max_model_len = 1000}, 4, kPageSize);
  scheduler.submit(1, request(20, 10));
  scheduler.submit(2, request(40, 8));
  scheduler.submit(3, request(4, 4));
  expect_step(scheduler, {}, {{1, 20}});
  expect_step(scheduler, {{1, 1}}, {});
  scheduler.remove(1);
  expect_step(scheduler, {}, {{2, 24}});  // its first page is request 1's
  expect_step(scheduler, {{2, 1}}, {});
  scheduler.remove(2);
  expect_step(scheduler, {}, {{3, 4}});
}

TEST_F(SchedulerTest, TheSmallerPriorityNumberGoesFirst) {
  Scheduler scheduler({.max_tokens_per_step = 100, .max_num_seqs = 1, .max_model_len = 1000}, 4, kPageSize);
  for (const auto& [id, priority] : {std::pair{1, 0}, {2, 5}, {3, 0}, {4, -1}}) {
    Request r = request(10, 10);
    r.priority = priority;
    scheduler.submit(id, r);
  }
  for (const RequestId id : {4, 1, 3, 2}) {
    expect_step(scheduler, {}, {{id, 10}});
    scheduler.remove(id);
  }
  EXPECT_EQ(scheduler.num_preemptions(), 0);
}

TEST_F(SchedulerTest, AMoreUrgentRequestPutsTheLastOneBack) {
  Scheduler scheduler({.max_tokens_per_step = 100, .max_num_seqs = 2, .max_model_len = 1000}, 40, kPageSize);
  scheduler.submit(1, request(10, 10));
  scheduler.submit(2, request(11, 10));
  expect_step(scheduler, {}, {{1, 10}, {2, 11}});
  expect_step(scheduler, {{1, 1}, {2, 1}}, {});
  Request urgent = request(12, 10);
  urgent.priority = -1;
  scheduler.submit(3, urgent);
  expect_step(scheduler, {{1, 1}}, {{3, 12}});
  expect_step(scheduler, {{3, 1}, {1, 1}}, {});
  scheduler.remove(3);
  expect_step(scheduler, {{1, 1}}, {{2, 11}});
  expect_step(scheduler, {{1, 1}, {2, 2}},
              {});  // what it had answered, computed again as it was before: absorbed
  expect_step(scheduler, {{1, 1}, {2, 1}}, {});
}

// Two prompts of a page each in a cache of three: one of them can grow. The one that came last is computed again.
TEST_F(SchedulerTest, WithoutRoomTheLastOneIsPutBackAndComputedAgain) {
  Scheduler scheduler({.max_tokens_per_step = 100, .max_num_seqs = 4, .max_model_len = 1000}, 3, kPageSize);
  scheduler.submit(1, request(16, 30));
  scheduler.submit(2, request(15, 30));
  expect_step(scheduler, {}, {{1, 16}, {2, 15}});
  expect_step(scheduler, {{1, 1}, {2, 1}}, {});
  expect_step(scheduler, {{1, 1}}, {});
  EXPECT_EQ(scheduler.num_preemptions(), 1);
  EXPECT_EQ(scheduler.num_waiting(), 1);
  for (int i = 0; i < 3; ++i) expect_step(scheduler, {{1, 1}}, {});
  scheduler.remove(1);
  expect_step(scheduler, {}, {{2, 15}});
  expect_step(scheduler, {{2, 2}}, {});
  expect_step(scheduler, {{2, 1}}, {});
}

TEST_F(SchedulerTest, PromptsShareTheirFullPages) {
  Scheduler scheduler({.max_tokens_per_step = 100, .max_num_seqs = 8, .max_model_len = 1000}, 40, kPageSize);
  scheduler.submit(1, request(40, 10));
  expect_step(scheduler, {}, {{1, 40}});
  scheduler.submit(2, request(50, 10));
  StepPlan plan = scheduler.plan();
  ASSERT_EQ(parts(plan.prefill), (Parts{{2, 18}}));
  ASSERT_EQ(plan.started.size(), 1U);
  EXPECT_EQ(plan.started[0]->num_cached, 32);
  EXPECT_EQ(plan.started[0]->pages[0], plan.decode[0].sequence->pages[0]);
  EXPECT_NE(plan.started[0]->pages[2], plan.decode[0].sequence->pages[2]);
  compute(scheduler, plan);
  Request salted = request(40, 10);
  salted.cache_salt = "somebody else";
  scheduler.submit(3, salted);
  Request scored = request(40, 10);
  scored.num_prompt_logprobs = 0;
  scheduler.submit(4, scored);
  scheduler.submit(5, request(32, 10));
  plan = scheduler.plan();
  EXPECT_EQ(parts(plan.prefill), (Parts{{3, 40}, {4, 40}, {5, 16}})) << "the last token needs its logits";
}

// As n answers to one prompt do. What differs on a page does not wait, nor does who has another salt.
TEST_F(SchedulerTest, PromptsThatStartTogetherAreComputedOnce) {
  Scheduler scheduler({.max_tokens_per_step = 100, .max_num_seqs = 8, .max_model_len = 1000}, 80, kPageSize);
  for (int id = 1; id <= 3; ++id) scheduler.submit(id, request(40, 10));
  Request salted = request(40, 10);
  salted.cache_salt = "somebody else";
  scheduler.submit(4, salted);
  Request other = request(40, 10);
  other.prompt[3] = 999;
  scheduler.submit(5, other);
  StepPlan plan = scheduler.plan();
  EXPECT_EQ(parts(plan.prefill), (Parts{{1, 40}, {4, 40}, {5, 20}}));
  EXPECT_EQ(plan.started.size(), 3U);
  compute(scheduler, plan);
  plan = scheduler.plan();
  EXPECT_EQ(parts(plan.prefill), (Parts{{2, 8}, {3, 8}, {5, 20}}));
  ASSERT_EQ(plan.started.size(), 2U);
  for (const Sequence* sequence : plan.started) {
    EXPECT_EQ(sequence->num_cached, 32);
    EXPECT_EQ(sequence->pages[1], plan.decode[0].sequence->pages[1]);
    EXPECT_NE(sequence->pages[2], plan.decode[0].sequence->pages[2]);
  }
}

// A long prompt in chunks: the one behind it follows page by page, and goes on by itself when the first is gone.
TEST_F(SchedulerTest, WhoWaitsForAPrefixGoesOnWithoutTheOther) {
  Scheduler scheduler({.max_tokens_per_step = 40, .max_num_seqs = 8, .max_model_len = 1000}, 80, kPageSize);
  scheduler.submit(1, request(100, 10));
  scheduler.submit(2, request(100, 10));
  expect_step(scheduler, {}, {{1, 40}});
  expect_step(scheduler, {}, {{1, 40}});
  scheduler.remove(1);
  const StepPlan plan = scheduler.plan();
  EXPECT_EQ(parts(plan.prefill), (Parts{{2, 20}}));
  EXPECT_EQ(plan.started.at(0)->num_cached, 80);
}

// The next turn of a chat: the prompt, what the model said, and more.
TEST_F(SchedulerTest, AnswersAreSharedIfSoWanted) {
  for (const bool wanted : {false, true}) {
    Scheduler scheduler(
        {.max_tokens_per_step = 100, .max_num_seqs = 8, .max_model_len = 1000, .cache_answers = wanted}, 40,
        kPageSize);
    scheduler.submit(1, request(20, 100));
    for (int step = 0; step < 30; ++step) compute(scheduler, scheduler.plan());
    scheduler.remove(1);
    Request next = request(20, 10);
    next.prompt.resize(60, 7);
    scheduler.submit(2, next);
    const StepPlan plan = scheduler.plan();
    ASSERT_EQ(plan.started.size(), 1U);
    EXPECT_EQ(plan.started[0]->num_cached, wanted ? 48 : 16)
        << "of 49 tokens, the last drawn one not computed";
  }
}

// Drafts are in the cache before they are known to be the answer.
TEST_F(SchedulerTest, DraftsAreNotShared) {
  Scheduler scheduler(
      {.max_tokens_per_step = 100, .max_num_seqs = 8, .max_model_len = 1000, .cache_answers = true}, 40,
      kPageSize);
  scheduler.submit(1, request(20, 100));
  compute(scheduler, scheduler.plan());
  StepPlan plan = scheduler.plan();
  plan.decode.at(0).sequence->drafts.assign(20, 8);
  plan = scheduler.plan();
  ASSERT_EQ(plan.decode.at(0).num_tokens, 21);
  scheduler.commit(plan.decode[0]);
  Request next = request(20, 10);
  next.prompt.push_back(7);
  next.prompt.resize(60, 8);
  scheduler.submit(2, next);
  EXPECT_EQ(scheduler.plan().started.at(0)->num_cached, 16);
}

TEST_F(SchedulerTest, RemovingAWaitingRequestLetsTheNextOneStart) {
  Scheduler scheduler({.max_tokens_per_step = 100, .max_num_seqs = 4, .max_model_len = 1000}, 4, kPageSize);
  scheduler.submit(1, request(20, 10));
  scheduler.submit(2, request(40, 8));
  scheduler.submit(3, request(4, 4));
  expect_step(scheduler, {}, {{1, 20}});
  EXPECT_TRUE(scheduler.remove(2));
  expect_step(scheduler, {{1, 1}}, {{3, 4}});
  EXPECT_FALSE(scheduler.remove(2)) << "gone already";
  EXPECT_FALSE(scheduler.remove(99)) << "never there";
}

TEST_F(SchedulerTest, RefusesWhatFindsTheQueueFull) {
  Scheduler scheduler({.max_num_seqs = 1, .max_model_len = 1000, .max_waiting = 2}, 40, kPageSize);
  scheduler.submit(1, request(4, 4));
  expect_step(scheduler, {}, {{1, 4}});
  scheduler.submit(2, request(4, 4));
  scheduler.submit(3, request(4, 4));
  const auto refusal = error_of(ErrorKind::kCapacity, [&] { scheduler.submit(4, request(4, 4)); });
  EXPECT_TRUE(contains(refusal, {"queue", "fewer than 2"}));
}

TEST_F(SchedulerTest, AScoredPromptIsComputedInPiecesAndMayWantNoAnswer) {
  Scheduler scheduler({.max_model_len = 100, .max_scored_tokens = 30}, 40, kPageSize);
  Request scored = request(100, 0);
  scored.num_prompt_logprobs = 1;
  scheduler.submit(1, scored);
  expect_step(scheduler, {}, {{1, 30}});
  expect_step(scheduler, {}, {{1, 30}});
}

// What the next step checks: as many drafts as the answer has room for.
TEST_F(SchedulerTest, DraftsAreComputedWithTheTokenBeforeThem) {
  Scheduler scheduler({.max_model_len = 1000}, 40, kPageSize);
  scheduler.submit(1, request(10, 4));
  StepPlan plan = scheduler.plan();
  compute(scheduler, plan);
  Sequence& sequence = *plan.prefill[0].sequence;
  sequence.drafts = {7, 7, 7, 7, 7};
  plan = scheduler.plan();
  ASSERT_EQ(parts(plan.decode), (Parts{{1, 3}}));
  EXPECT_EQ(sequence.drafts.size(), 2U) << "of 4 tokens one is there and one is drawn in any case";
  EXPECT_TRUE(plan.decode[0].draws());
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
  Request other = request(49, 3);
  other.prompt[0] = 999;
  scheduler.submit(2, other);
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
    Request r = request(1 + random_.below(100), 1 + random_.below(50));
    r.priority = static_cast<int32_t>(random_.below(3));
    r.cache_salt = random_.below(4) == 0 ? "other" : "";
    scheduler_.submit(next_id_++, r);
  }

  // Waiting, prefilling, decoding, finished or never there.
  void cancel() {
    const RequestId id = next_id_ - random_.below(12);
    ASSERT_EQ(scheduler_.remove(id), alive_.erase(id) == 1) << id;
  }

  void step() {
    const StepPlan plan = scheduler_.plan();
    check(plan);
    compute(scheduler_, plan);
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
      ASSERT_GE(part.num_tokens, 1);
      ASSERT_LE(part.num_tokens, part.sequence->num_tokens() - part.sequence->num_computed);
    }
    for (const StepPlan::Part& part : plan.prefill) {
      const int64_t left = part.sequence->num_prompt() - part.sequence->num_computed;
      ASSERT_GE(part.num_tokens, 1);
      ASSERT_LE(part.num_tokens, left);
      left_over += left - part.num_tokens;
    }
    for (const auto* list : {&plan.decode, &plan.prefill}) {
      ASSERT_TRUE(std::ranges::is_sorted(*list, {}, [](const auto& part) {
        return std::pair(part.sequence->request.priority, part.sequence->id);
      }));
      for (const StepPlan::Part& part : *list) {
        const Sequence& s = *part.sequence;
        ASSERT_TRUE(alive_.contains(s.id) && seen.insert(s.id).second);
        tokens += part.num_tokens;
        ASSERT_LE((s.num_computed + part.num_tokens + kPageSize - 1) / kPageSize, std::ssize(s.pages));
        const int64_t shared =
            s.prefix.num_pages;  // pages of a prompt may be others' too, what is written now may not
        for (int64_t p = 0; p < std::ssize(s.pages); ++p) {
          const int32_t page = s.pages[static_cast<size_t>(p)];
          ASSERT_TRUE(page >= 0 && page < kPages);
          ASSERT_TRUE(pages.insert(page).second || p < shared) << page;
        }
        ASSERT_LE(shared * kPageSize, s.num_computed) << "what is shared has been computed";
      }
    }
    ASSERT_LE(tokens, limits_.max_tokens_per_step);
    ASSERT_LE(std::ssize(seen), limits_.max_num_seqs);
    ASSERT_TRUE(left_over == 0 || tokens == limits_.max_tokens_per_step)
        << "a prompt is cut by the budget only";
  }

  void expect_whole_pool() {
    EXPECT_EQ(scheduler_.pages().num_free(), kPages);
    scheduler_.forget_prefixes();
    scheduler_.submit(next_id_, request(kPages * kPageSize - 1, 1));
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
