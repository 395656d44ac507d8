#include "hadal/engine/mask_worker.h"

#include <memory>
#include <stdexcept>

#include <gtest/gtest.h>

namespace hadal::engine {
namespace {

// A sequence whose mask says how long its answer was, and on which thread it was asked.
struct Masked {
  explicit Masked(RequestId id) {
    sequence.id = id;
    sequence.request.prompt = {1, 2, 3};
    sequence.answer.resize(static_cast<size_t>(id), 4);
    sequence.request.token_mask = [this](std::span<const int32_t> answer) -> std::span<const uint32_t> {
      if (fails) throw std::runtime_error("no mask");
      thread = std::this_thread::get_id();
      mask = {static_cast<uint32_t>(answer.size())};
      return mask;
    };
  }
  StepPlan::Part last() { return {&sequence, sequence.num_tokens() - 1, 1}; }

  Sequence sequence;
  std::vector<uint32_t> mask;
  std::thread::id thread;
  bool fails = false;
};

TEST(MaskWorker, HasEachSequencesMaskFromItsOwnThread) {
  Masked a(1), b(2);
  MaskWorker worker;
  for (uint32_t step = 0; step < 100; ++step) {
    StepPlan plan;
    plan.decode = {a.last(), b.last()};
    worker.begin(plan);
    EXPECT_EQ(worker.take(b.sequence)[0], 2 + step);
    EXPECT_EQ(worker.take(a.sequence)[0], 1 + step);
    EXPECT_NE(a.thread, std::this_thread::get_id());
    for (Masked* one : {&a, &b}) one->sequence.answer.push_back(4);
    worker.end();
  }
}

TEST(MaskWorker, TheDrawsAfterTheFirstAreMadeHere) {
  Masked a(1);
  MaskWorker worker;
  StepPlan plan;
  plan.decode = {a.last()};
  worker.begin(plan);
  EXPECT_EQ(worker.take(a.sequence)[0], 1U);
  a.sequence.answer.push_back(4);
  EXPECT_EQ(worker.take(a.sequence)[0], 2U);
  EXPECT_EQ(a.thread, std::this_thread::get_id());
  worker.end();
}

TEST(MaskWorker, AFailureIsItsSequencesOnly) {
  Masked a(1), b(2);
  a.fails = true;
  MaskWorker worker;
  StepPlan plan;
  plan.decode = {a.last()};
  plan.prefill = {b.last()};
  worker.begin(plan);
  EXPECT_THROW(worker.take(a.sequence), std::runtime_error);
  EXPECT_EQ(worker.take(b.sequence)[0], 2U);
  worker.end();
}

// Nobody draws: the prompt goes on, or whoever was in the step has gone.
TEST(MaskWorker, WhatIsNotTakenIsDropped) {
  MaskWorker worker;
  Masked prompt(0);
  StepPlan plan;
  plan.prefill = {{&prompt.sequence, 0, 2}};
  worker.begin(plan);
  worker.end();
  EXPECT_TRUE(prompt.mask.empty());
  {
    Masked gone(1);
    plan.prefill = {gone.last()};
    worker.begin(plan);
    worker.end();
  }
  Masked next(5);
  plan.prefill = {next.last()};
  worker.begin(plan);
  EXPECT_EQ(worker.take(next.sequence)[0], 5U);
  worker.end();
}

}  // namespace
}  // namespace hadal::engine
