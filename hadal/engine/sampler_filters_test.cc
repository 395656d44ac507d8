// The distribution that tokens are drawn from: temperature, top_k, top_p and min_p against exact probabilities.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include <gtest/gtest.h>

#include "hadal/core/test_random.h"
#include "hadal/engine/sampler.h"

namespace hadal::engine {
namespace {

using Ids = std::vector<int32_t>;
using Probabilities = std::vector<double>;

// Exact probabilities, by the definition: temperature; the top_k most probable; the fewest of these that hold top_p of
// what top_k left; of these, the ones with at least min_p times the largest.
Probabilities exact_probabilities(const std::vector<float>& logits, const Sampling& s) {
  const double largest = *std::ranges::max_element(logits);
  Probabilities p;
  for (const float logit : logits) p.push_back(std::exp((logit - largest) / double{s.temperature}));
  Ids order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto of = [&](int32_t id) { return p[static_cast<size_t>(id)]; };
  std::ranges::stable_sort(order, [&](int32_t a, int32_t b) { return of(a) > of(b); });
  if (s.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(s.top_k)));
  const auto sum = [&](const Ids& ids) {
    return std::accumulate(ids.begin(), ids.end(), 0.0,
                           [&](double total, int32_t id) { return total + of(id); });
  };
  Ids kept;
  double held = 0.0;
  for (const double whole = sum(order); const int32_t id : order) {
    if (held >= s.top_p * whole) break;
    kept.push_back(id);
    held += of(id);
  }
  std::erase_if(kept, [&](int32_t id) { return of(id) < double{s.min_p} * of(order[0]); });
  Probabilities result(logits.size(), 0.0);
  for (const double whole = sum(kept); const int32_t id : kept)
    result[static_cast<size_t>(id)] = of(id) / whole;
  return result;
}

std::vector<int64_t> draw(const std::vector<float>& logits, const Sampling& sampling, int64_t draws) {
  const Ids text(static_cast<size_t>(draws), 0);
  std::vector<int64_t> counts(logits.size());
  for (size_t position = 0; position < text.size(); ++position) {
    std::vector<float> scratch = logits;
    const SamplingState state{
        .prompt = std::span(text).first(position), .answer = {}, .banned = {}, .allowed = {}};
    ++counts[static_cast<size_t>(sample(scratch, sampling, state).token)];
  }
  return counts;
}

// Drawn tokens are in the support, and as frequent as they are probable.
void expect_distribution(const std::vector<float>& logits, const Sampling& sampling, int64_t draws) {
  const Probabilities p = exact_probabilities(logits, sampling);
  const std::vector<int64_t> counts = draw(logits, sampling, draws);
  double chi_square = 0.0, degrees = -1.0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0.0) {
      EXPECT_EQ(counts[i], 0) << "token " << i << " is not to be drawn";
      continue;
    }
    const double expected = p[i] * static_cast<double>(draws);
    chi_square += std::pow(static_cast<double>(counts[i]) - expected, 2) / expected;
    ++degrees;
  }
  // Five standard deviations above the mean: one in 10^5 or so. The draws are the same in each run.
  EXPECT_LT(chi_square, degrees + 5 * std::sqrt(2 * std::max(degrees, 1.0)) + 5);
}

TEST(Temperature, DrawsFromTheSoftmax) {
  const std::vector<float> logits = {1.0F, -0.5F, 2.0F, 0.0F, 0.3F, -1.5F, 1.2F};
  for (const float temperature : {0.3F, 1.0F, 2.0F, 100.0F}) {
    SCOPED_TRACE(temperature);
    expect_distribution(logits, {.temperature = temperature, .seed = 3}, 20'000);
  }
}

TEST(Temperature, SmallOnesAreGreedy) {
  const std::vector<float> logits = {1.0F, 1.1F, -3e38F, 1.05F};
  for (const float temperature : {1e-3F, 1e-30F, 1e-45F}) {
    EXPECT_EQ(draw(logits, {.temperature = temperature}, 100), (std::vector<int64_t>{0, 100, 0, 0}));
  }
}

TEST(Temperature, SurvivesHugeLogits) {
  const std::vector<float> logits = {3e38F, -3e38F, 3e38F};
  const std::vector<int64_t> counts = draw(logits, {.temperature = 1.0F}, 1000);
  EXPECT_EQ(counts[1], 0);
  EXPECT_NEAR(static_cast<double>(counts[0]), 500.0, 80.0);  // five standard deviations of 16
}

// Logits whose softmax is p, to FP32's rounding. No test below has a border closer than that.
std::vector<float> logits_of(std::vector<float> p) {
  for (float& x : p) x = std::log(x);
  return p;
}

std::set<int32_t> support(const std::vector<float>& logits, const Sampling& sampling) {
  const std::vector<int64_t> counts = draw(logits, sampling, 2000);
  std::set<int32_t> drawn;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] > 0) drawn.insert(static_cast<int32_t>(i));
  }
  return drawn;
}

using Set = std::set<int32_t>;

TEST(TopK, KeepsTheMostProbableAndTheLowerIdsAmongEquals) {
  const auto logits = logits_of({0.1F, 0.3F, 0.2F, 0.15F, 0.25F});
  EXPECT_EQ(support(logits, {.top_k = 1}), (Set{1}));
  EXPECT_EQ(support(logits, {.top_k = 3}), (Set{1, 2, 4}));
  EXPECT_EQ(support(logits, {.top_k = 5}), (Set{0, 1, 2, 3, 4}));
  EXPECT_EQ(support(logits, {.top_k = INT32_MAX}), (Set{0, 1, 2, 3, 4}));
  EXPECT_EQ(support(logits, {.top_k = 0}), (Set{0, 1, 2, 3, 4}));
  EXPECT_EQ(support({1.0F, 1.0F, 1.0F, 1.0F}, {.top_k = 2}), (Set{0, 1}));
}

TEST(TopP, KeepsTheFewestThatHoldIt) {
  const auto logits = logits_of({0.1F, 0.4F, 0.2F, 0.3F});
  EXPECT_EQ(support(logits, {.top_p = 1e-6F}), (Set{1}));
  EXPECT_EQ(support(logits, {.top_p = 0.39F}), (Set{1}));
  EXPECT_EQ(support(logits, {.top_p = 0.41F}), (Set{1, 3}));
  EXPECT_EQ(support(logits, {.top_p = 0.69F}), (Set{1, 3}));
  EXPECT_EQ(support(logits, {.top_p = 0.71F}), (Set{1, 2, 3}));
  EXPECT_EQ(support(logits, {.top_p = 0.91F}), (Set{0, 1, 2, 3}));
  EXPECT_EQ(support({0.0F, 0.0F, 0.0F, 0.0F}, {.top_p = 0.5F}), (Set{0, 1})) << "exactly half is enough";
}

TEST(MinP, IsRelativeToTheMostProbable) {
  const auto logits = logits_of({0.1F, 0.4F, 0.2F, 0.3F});
  EXPECT_EQ(support(logits, {.min_p = 0.24F}), (Set{0, 1, 2, 3}));
  EXPECT_EQ(support(logits, {.min_p = 0.26F}), (Set{1, 2, 3}));
  EXPECT_EQ(support(logits, {.min_p = 0.51F}), (Set{1, 3}));
  EXPECT_EQ(support(logits, {.min_p = 1.0F}), (Set{1}));
}

TEST(Filters, ComeInTheirOrder) {
  const auto logits = logits_of({0.1F, 0.4F, 0.2F, 0.3F});
  // Half of what top_k leaves (0.7), and not of everything.
  EXPECT_EQ(support(logits, {.top_k = 2, .top_p = 0.5F}), (Set{1}));
  // 0.55 of everything and not of what min_p would leave (0.7).
  EXPECT_EQ(support(logits, {.top_p = 0.55F, .min_p = 0.6F}), (Set{1, 3}));
  // The temperature comes first: at 10, the shares are 0.23, 0.27, 0.25, 0.26.
  EXPECT_EQ(support(logits, {.temperature = 10.0F, .top_p = 0.5F}), (Set{1, 3}));
  EXPECT_EQ(support(logits, {.temperature = 10.0F, .top_p = 0.55F}), (Set{1, 2, 3}));
}

TEST(Filters, AgreeWithBruteForce) {
  TestRandom random(1);
  for (int i = 0; i < 60; ++i) {
    const std::vector<float> logits = random.uniform_vector(12, -1.5F, 1.5F);
    const Sampling sampling{.temperature = random.uniform(0.4F, 2.0F),
                            .top_k = static_cast<int32_t>(random.below(13)),
                            .top_p = random.below(2) == 0 ? 1.0F : random.uniform(0.3F, 1.0F),
                            .min_p = random.below(2) == 0 ? 0.0F : random.uniform(0.0F, 0.6F),
                            .seed = random.bits()};
    SCOPED_TRACE(i);
    expect_distribution(logits, sampling, 3000);
  }
}

// A vocabulary so large that it is not sorted at once. Every draw is in the support, up to its last and most improbable
// member, and the support's ends are reached.
TEST(Filters, WorkOnALargeVocabulary) {
  TestRandom random(2);
  const std::vector<float> logits = random.uniform_vector(3000, -1.0F, 1.0F);
  for (const auto& [top_k, top_p] : std::vector<std::pair<int32_t, float>>{{0, 0.02F},
                                                                           {0, 0.3F},
                                                                           {0, 0.9F},
                                                                           {0, 0.9999F},
                                                                           {300, 1.0F},
                                                                           {2500, 1.0F},
                                                                           {2500, 0.5F},
                                                                           {10, 0.5F}}) {
    const Sampling sampling{.top_k = top_k, .top_p = top_p};
    const Probabilities p = exact_probabilities(logits, sampling);
    const std::vector<int64_t> counts = draw(logits, sampling, 150);
    double smallest = 1.0, smallest_drawn = 1.0;
    for (size_t i = 0; i < p.size(); ++i) {
      ASSERT_TRUE(counts[i] == 0 || p[i] > 0.0)
          << "token " << i << ", top_k " << top_k << ", top_p " << top_p;
      if (p[i] > 0.0) smallest = std::min(smallest, p[i]);
      if (counts[i] > 0) smallest_drawn = std::min(smallest_drawn, p[i]);
    }
    EXPECT_LT(smallest_drawn, 1.2 * smallest) << "150 draws come close to the support's end";
  }
}

}  // namespace
}  // namespace hadal::engine
