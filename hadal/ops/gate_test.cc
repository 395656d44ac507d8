#include "hadal/ops/gate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"
#include "hadal/core/test_random.h"
#include "hadal/ops/test_context.h"

namespace hadal::ops {
namespace {

using Score = GateRule::Score;
using Select = GateRule::Select;

// Scores are sums of at most 64 FP32 exponentials, and factors quotients of sums of 8.
constexpr double kTolerance = 1e-5;

struct Choice {
  Tensor<int32_t, 2> ids;
  Tensor<float, 2> weights;
};

Choice choose(const std::vector<std::vector<float>>& logits, const std::vector<float>& bias,
              const GateRule& rule) {
  TestContext ctx;
  const auto tokens = static_cast<int64_t>(logits.size()), experts = static_cast<int64_t>(logits[0].size());
  Tensor<float, 2> in({tokens, experts});
  for (int64_t t = 0; t < tokens; ++t) std::ranges::copy(logits[static_cast<size_t>(t)], in.view()[t].data);
  Choice choice{Tensor<int32_t, 2>({tokens, rule.experts_per_token}),
                Tensor<float, 2>({tokens, rule.experts_per_token})};
  const Vec<const float> biases(bias.data(), {static_cast<int64_t>(bias.size())});
  gate(ctx, in.view(), biases, rule, choice.ids.view(), choice.weights.view());
  return choice;
}

std::vector<int32_t> ids_of(const std::vector<float>& logits, const std::vector<float>& bias,
                            const GateRule& rule) {
  return choose({logits}, bias, rule).ids.values();
}

// Logits whose softmax is p, and whose sigmoid is p.
std::vector<float> softmax_logits(std::vector<float> p) {
  for (float& x : p) x = std::log(x);
  return p;
}
std::vector<float> sigmoid_logits(std::vector<float> p) {
  for (float& x : p) x = std::log(x / (1.0F - x));
  return p;
}

void expect_weights(const Choice& choice, const std::vector<double>& expected) {
  ASSERT_EQ(choice.weights.values().size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(choice.weights.values()[i], expected[i], kTolerance) << i;
}

TEST(Gate, GreedyTakesTheLargestOfAll) {
  const auto logits = softmax_logits({0.1F, 0.4F, 0.05F, 0.25F, 0.2F, 0.0001F});
  const GateRule rule{.experts_per_token = 3};
  EXPECT_EQ(ids_of(logits, {}, rule), (std::vector<int32_t>{1, 3, 4}));
  // Neither groups nor a bias are looked at.
  GateRule grouped = rule;
  grouped.num_groups = 3;
  EXPECT_EQ(ids_of(logits, {}, grouped), (std::vector<int32_t>{1, 3, 4}));
  EXPECT_EQ(ids_of(logits, {9, 0, 9, 0, 0, 9}, rule), (std::vector<int32_t>{1, 3, 4}));
}

TEST(Gate, GroupLimitedKeepsTheGroupsWithTheLargestScores) {
  // By groups of two: largest scores 0.3, 0.1, 0.25, 0.05. The second group's 0.1 is out, though it beats the 0.02 that
  // the third group brings.
  const auto logits = softmax_logits({0.28F, 0.3F, 0.1F, 0.09F, 0.02F, 0.25F, 0.05F, 0.04F});
  const GateRule rule{
      .select = Select::kGroupLimited, .experts_per_token = 4, .num_groups = 4, .top_groups = 2};
  EXPECT_EQ(ids_of(logits, {}, rule), (std::vector<int32_t>{1, 0, 5, 4}));
}

TEST(Gate, BiasedGroupsAreJudgedByTheirTwoLargest) {
  // Group 0 has the largest score, group 1 the largest sum of two.
  const auto logits = sigmoid_logits({0.9F, 0.1F, 0.05F, 0.6F, 0.7F, 0.02F});
  const GateRule rule{.score = Score::kSigmoid,
                      .select = Select::kBiasedGroups,
                      .experts_per_token = 2,
                      .num_groups = 2,
                      .top_groups = 1};
  EXPECT_EQ(ids_of(logits, std::vector<float>(6, 0.0F), rule), (std::vector<int32_t>{4, 3}));
}

TEST(Gate, TheBiasSelectsAndDoesNotWeigh) {
  const auto logits = sigmoid_logits({0.9F, 0.5F, 0.3F, 0.2F});
  const GateRule rule{.score = Score::kSigmoid, .select = Select::kBiasedGroups, .experts_per_token = 2};
  const Choice choice = choose({logits}, {-0.8F, 0.0F, 0.0F, 0.4F}, rule);
  EXPECT_EQ(choice.ids.values(), (std::vector<int32_t>{3, 1})) << "0.6, 0.5, 0.3, 0.1 with the bias";
  expect_weights(choice, {0.2, 0.5});
}

// HF's first code masks refused experts with 0.0. Where biases make all scores negative, 0.0 would win.
TEST(Gate, RefusedGroupsNeverWin) {
  const auto logits = sigmoid_logits({0.5F, 0.4F, 0.9F, 0.8F, 0.6F, 0.7F});
  const std::vector<float> bias(6, -5.0F);
  const GateRule rule{.score = Score::kSigmoid,
                      .select = Select::kBiasedGroups,
                      .experts_per_token = 2,
                      .num_groups = 3,
                      .top_groups = 1};
  EXPECT_EQ(ids_of(logits, bias, rule), (std::vector<int32_t>{2, 3}));
}

TEST(Gate, TiesGoToTheLowerIndex) {
  const std::vector<float> equal(8, 0.25F);
  GateRule rule{.experts_per_token = 3, .num_groups = 4, .top_groups = 2};
  EXPECT_EQ(ids_of(equal, {}, rule), (std::vector<int32_t>{0, 1, 2}));
  rule.select = Select::kGroupLimited;
  EXPECT_EQ(ids_of(equal, {}, rule), (std::vector<int32_t>{0, 1, 2}));
  rule.score = Score::kSigmoid;
  rule.select = Select::kBiasedGroups;
  EXPECT_EQ(ids_of(equal, std::vector<float>(8, 0.5F), rule), (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(ids_of({0, 1, 0, 1, 1, 0}, {}, {.experts_per_token = 5}), (std::vector<int32_t>{1, 3, 4, 0, 2}));
}

TEST(Gate, SoftmaxSurvivesLargeLogits) {
  const Choice choice = choose({{1e4F, -1e4F, 1e4F, 0.0F}}, {}, {.experts_per_token = 4});
  EXPECT_EQ(choice.ids.values(), (std::vector<int32_t>{0, 2, 1, 3})) << "the last two are both 0";
  expect_weights(choice, {0.5, 0.5, 0.0, 0.0});
}

// norm_topk_prob: V2 divides by the sum instead of multiplying by routed_scaling_factor, V3 does both.
TEST(Gate, NormalisesOrScales) {
  const auto p = softmax_logits({0.5F, 0.3F, 0.2F});
  GateRule rule{.experts_per_token = 2, .scaling = 16.0};
  expect_weights(choose({p}, {}, rule), {8.0, 4.8});
  rule.normalize = true;
  expect_weights(choose({p}, {}, rule), {0.625, 0.375});
  rule.select = Select::kGroupLimited;
  expect_weights(choose({p}, {}, rule), {0.625, 0.375});
  rule.normalize = false;
  expect_weights(choose({p}, {}, rule), {8.0, 4.8});

  const auto s = sigmoid_logits({0.6F, 0.3F, 0.1F});
  const std::vector<float> no_bias(3, 0.0F);
  GateRule v3{
      .score = Score::kSigmoid, .select = Select::kBiasedGroups, .experts_per_token = 2, .scaling = 2.5};
  expect_weights(choose({s}, no_bias, v3), {1.5, 0.75});
  v3.normalize = true;
  expect_weights(choose({s}, no_bias, v3), {2.5 * 0.6 / 0.9, 2.5 * 0.3 / 0.9});
}

// One expert a token: dividing by itself would make every factor 1. Upstream leaves it alone, and so scales.
TEST(Gate, OneExpertIsNotNormalised) {
  GateRule rule{.experts_per_token = 1, .normalize = true, .scaling = 4.0};
  expect_weights(choose({softmax_logits({0.3F, 0.7F})}, {}, rule), {2.8});
  rule.score = Score::kSigmoid;
  rule.select = Select::kBiasedGroups;
  expect_weights(choose({sigmoid_logits({0.3F, 0.6F})}, {0.0F, 0.0F}, rule), {2.4});
}

// The rules once more, in double and by sorting.
class BruteForce {
 public:
  BruteForce(const std::vector<float>& logits, const std::vector<float>& bias, const GateRule& rule)
      : rule_(rule), scores_(logits.size()) {
    const double largest = *std::ranges::max_element(logits);
    double sum = 0.0;
    for (const float z : logits) sum += std::exp(z - largest);
    for (size_t e = 0; e < logits.size(); ++e) {
      scores_[e] = rule.score == Score::kSoftmax ? std::exp(logits[e] - largest) / sum
                                                 : 1 / (1 + std::exp(-double{logits[e]}));
    }
    selection_ = scores_;
    const bool biased = rule.select == Select::kBiasedGroups;
    for (size_t e = 0; biased && e < logits.size(); ++e) selection_[e] += bias[e];
  }

  std::vector<int32_t> ids() const {
    std::vector<int32_t> allowed;
    const auto size = static_cast<int32_t>(selection_.size()) / static_cast<int32_t>(rule_.num_groups);
    for (const int32_t g : groups(size)) {
      for (int32_t e = g * size; e < (g + 1) * size; ++e) allowed.push_back(e);
    }
    std::ranges::sort(allowed);
    std::ranges::stable_sort(allowed, [&](int32_t a, int32_t b) { return at(a) > at(b); });
    allowed.resize(static_cast<size_t>(rule_.experts_per_token));
    return allowed;
  }

  std::vector<double> weights() const {
    std::vector<double> result;
    double sum = 0.0;
    for (const int32_t e : ids()) sum += scores_[static_cast<size_t>(e)];
    const bool divide = rule_.normalize && rule_.experts_per_token > 1;
    const bool scale = !divide || rule_.select == Select::kBiasedGroups;
    for (const int32_t e : ids()) {
      result.push_back(scores_[static_cast<size_t>(e)] / (divide ? sum : 1.0) *
                       (scale ? rule_.scaling : 1.0));
    }
    return result;
  }

 private:
  double at(int32_t e) const { return selection_[static_cast<size_t>(e)]; }

  std::vector<int32_t> groups(int32_t size) const {
    std::vector<int32_t> all(static_cast<size_t>(rule_.num_groups));
    std::iota(all.begin(), all.end(), 0);
    if (rule_.select == Select::kGreedy) return all;
    const auto group_score = [&](int32_t g) {
      std::vector<double> members(selection_.begin() + g * size, selection_.begin() + (g + 1) * size);
      std::ranges::sort(members, std::greater());
      return rule_.select == Select::kBiasedGroups && rule_.num_groups > 1 ? members[0] + members[1]
                                                                           : members[0];
    };
    std::ranges::stable_sort(all, [&](int32_t a, int32_t b) { return group_score(a) > group_score(b); });
    all.resize(static_cast<size_t>(rule_.top_groups));
    return all;
  }

  GateRule rule_;
  std::vector<double> scores_, selection_;
};

TEST(Gate, AgreesWithBruteForceOnRandomRows) {
  TestRandom random(1);
  for (const Select select : {Select::kGreedy, Select::kGroupLimited, Select::kBiasedGroups}) {
    for (const Score score : {Score::kSoftmax, Score::kSigmoid}) {
      for (const auto& [experts, groups, top, count] :
           std::vector<std::array<int64_t, 4>>{{64, 8, 4, 8}, {16, 4, 2, 6}, {12, 1, 1, 3}, {8, 4, 4, 8}}) {
        const GateRule rule{score, select, count, groups, top, random.below(2) == 0, 2.5};
        std::vector<std::vector<float>> logits;
        for (int i = 0; i < 200; ++i) logits.push_back(random.uniform_vector(experts, -4.0F, 4.0F));
        const auto bias = random.uniform_vector(experts, -1.0F, 1.0F);
        const Choice choice = choose(logits, bias, rule);
        for (int64_t t = 0; t < 200; ++t) {
          const BruteForce expected(logits[static_cast<size_t>(t)], bias, rule);
          const auto* ids = choice.ids.view()[t].data;
          ASSERT_EQ(std::vector<int32_t>(ids, ids + count), expected.ids()) << "row " << t;
          for (int64_t i = 0; i < count; ++i) {
            const double weight = expected.weights()[static_cast<size_t>(i)];
            ASSERT_NEAR(choice.weights.view()[t][i], weight, kTolerance * weight);
          }
        }
      }
    }
  }
}

TEST(Gate, RefusesWhatDoesNotFit) {
  const std::vector<float> logits(6, 0.0F);
  error_of(ErrorKind::kInternal, [&] {
    choose({logits}, {}, {.select = Select::kGroupLimited, .num_groups = 4, .top_groups = 1});
  });
  EXPECT_TRUE(contains(
      error_of(ErrorKind::kInternal, [&] { choose({logits}, {0.0F}, {.select = Select::kBiasedGroups}); }),
      "6 experts in 1 groups, 1 chosen, bias 1"));
}

}  // namespace
}  // namespace hadal::ops
