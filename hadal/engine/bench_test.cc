#include "hadal/engine/bench.h"

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "hadal/model/synthetic.h"

namespace hadal::engine {
namespace {

const MachineLimits kLimits{.read_bytes_per_s = 1e9, .op_per_s = {1e9, 1e9, 1e9}};

struct BenchTest : testing::Test {
  ThreadPool pool{2};
  model::Model model = [this] {
    model::ModelConfig config = model::synthetic_config("tiny");
    config.num_hidden_layers = 3;
    return model::synthetic_model(config, model::WeightScheme::kBF16, pool);
  }();
  model::CostModel cost{model.config, model.weights};
};

double sum(const std::array<double, kNumPhases>& seconds) {
  return std::accumulate(seconds.begin(), seconds.end(), 0.0);
}

TEST_F(BenchTest, PrefillInStepsWithTheWorkOfEach) {
  constexpr int64_t kStep = Bench::kTokensPerStep, kPrompt = kStep + 88;
  Bench bench(model, pool, {}, kPrompt, kLimits);
  const Timing timing = bench.prefill(kPrompt, /*keep_events=*/true);
  EXPECT_EQ(timing.tokens, kPrompt);
  EXPECT_GT(timing.seconds, 0);
  EXPECT_NEAR(sum(timing.phases), timing.seconds, 0.01);
  model::Work expected = model::total(cost.prefill(0, kStep, false));
  expected += model::total(cost.prefill(kStep, 88, true));
  EXPECT_DOUBLE_EQ(model::total(timing.work).bytes, expected.bytes);
  EXPECT_DOUBLE_EQ(model::total(timing.work).total_operations(), expected.total_operations());
  EXPECT_GT(timing.least_seconds, 0);
  // Each of the two steps has an attention scope in each layer, and the last one a head and a draw.
  const auto count = [&](Phase phase) {
    return std::ranges::count(timing.events, phase, &PhaseRecorder::Event::phase);
  };
  EXPECT_EQ(count(Phase::kAttention), 2 * 3);
  EXPECT_EQ(count(Phase::kExperts), 2 * 2);
  EXPECT_EQ(count(Phase::kHead), 1);
  EXPECT_EQ(count(Phase::kSampling), 1);
}

TEST_F(BenchTest, DecodeOfABatchAtADepth) {
  Bench bench(model, pool, {}, 3 * Bench::paged(100 + 5), kLimits);
  const Timing timing = bench.decode(3, 100, 5, 1e9);
  EXPECT_EQ(timing.tokens, 15);
  model::Work expected;
  for (int64_t context = 101; context <= 105; ++context) expected += model::total(cost.decode(3, context));
  EXPECT_DOUBLE_EQ(model::total(timing.work).bytes, expected.bytes);
  EXPECT_TRUE(timing.events.empty());
}

TEST_F(BenchTest, DecodeEndsWhenItsTimeIsOver) {
  Bench bench(model, pool, {}, 200, kLimits);
  EXPECT_EQ(bench.decode(1, 0, 100, 0).tokens, 1);
}

TEST_F(BenchTest, RunsInFloat32) {
  Bench bench(model, pool, {.f32 = true}, 128, kLimits);
  EXPECT_EQ(bench.decode(2, 60, 2, 1e9).tokens, 4);
}

TEST(BenchPages, AreWhole) {
  EXPECT_EQ(Bench::paged(0), 0);
  EXPECT_EQ(Bench::paged(1), 64);
  EXPECT_EQ(Bench::paged(64), 64);
  EXPECT_EQ(Bench::paged(65), 128);
}

}  // namespace
}  // namespace hadal::engine
