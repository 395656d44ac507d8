#include "hadal/engine/ranking.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "hadal/core/test_random.h"

namespace hadal::engine {
namespace {

// The definition: everything sorted, one number after the other.
struct Sorted {
  std::vector<int32_t> ids;
  std::vector<float> weights;

  explicit Sorted(const std::vector<float>& all) : ids(all.size()), weights(all) {
    std::iota(ids.begin(), ids.end(), 0);
    std::ranges::stable_sort(ids, [&](int32_t a, int32_t b) { return of(a) > of(b); });
  }
  float of(int32_t id) const { return weights[static_cast<size_t>(id)]; }
  double total() const {
    return std::accumulate(ids.begin(), ids.end(), 0.0, [&](double sum, int32_t id) { return sum + of(id); });
  }
  void keep_first(size_t count) { ids.resize(std::min(count, ids.size())); }
  void keep_share(double share) {
    const double wanted = share * total();
    double held = 0.0;
    size_t kept = 0;
    for (; kept < ids.size() && (kept == 0 || held < wanted); ++kept) held += of(ids[kept]);
    ids.resize(kept);
  }
  void keep_from(float weight) {
    std::erase_if(ids, [&](int32_t id) { return of(id) < weight; });
  }
  int32_t token_at(double mass) const {
    double sum = 0.0;
    for (const int32_t id : ids) {
      sum += of(id);
      if (sum > mass) return id;
    }
    return -1;
  }
};

// Peaked, wide and flat ones; many equals; zeros.
std::vector<std::vector<float>> distributions() {
  std::vector<std::vector<float>> all = {
      {1.0F}, {0.0F, 1.0F}, {1.0F, 1.0F, 1.0F}, {0.0F, 0.25F, 1.0F, 0.25F}};
  TestRandom random(1);
  for (const float width : {0.5F, 5.0F, 40.0F, 300.0F}) {
    std::vector<float> weights = random.uniform_vector(4'000, -width, 0.0F);
    for (float& weight : weights) weight = std::exp(weight);
    weights[777] = 1.0F;
    all.push_back(weights);
    for (float& weight : weights) weight = std::ceil(weight * 64.0F) / 64.0F;
    all.push_back(weights);
  }
  return all;
}

// Sums in two orders are equal but for some 1e-12: random shares do not come that close to a border.
void expect_same(const Ranking& ranking, const Sorted& sorted, TestRandom& random) {
  const double whole = sorted.total();
  ASSERT_NEAR(ranking.total(), whole, 1e-12 * whole);
  for (int draw = 0; draw < 20; ++draw) {
    const double mass = double{random.uniform(0.0F, 1.0F)} * whole;
    ASSERT_EQ(ranking.token_at(mass), sorted.token_at(mass)) << mass << " of " << whole;
  }
  ASSERT_EQ(ranking.token_at(0.0), sorted.ids[0]);
  ASSERT_EQ(ranking.token_at(2 * whole), -1);
}

TEST(Ranking, IsTheSortedVocabularyAfterEachCut) {
  TestRandom random(2);
  for (const std::vector<float>& weights : distributions()) {
    for (const size_t count : {size_t{1}, size_t{2}, size_t{40}, size_t{1500}, weights.size()}) {
      for (const double share : {0.01, 0.613, 0.95}) {
        for (const float least : {0.0F, 0.05F, 0.5F}) {
          SCOPED_TRACE(testing::Message() << weights.size() << ' ' << count << ' ' << share << ' ' << least);
          Ranking ranking(weights);
          Sorted sorted(weights);
          expect_same(ranking, sorted, random);
          ranking.keep_first(count);
          sorted.keep_first(count);
          expect_same(ranking, sorted, random);
          ranking.keep_share(share);
          sorted.keep_share(share);
          expect_same(ranking, sorted, random);
          ranking.keep_from(least);
          sorted.keep_from(least);
          expect_same(ranking, sorted, random);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(Ranking, AShareAloneNeedsNoCount) {
  TestRandom random(3);
  for (const std::vector<float>& weights : distributions()) {
    for (const double share : {0.001, 0.5, 0.9, 0.999}) {
      Ranking ranking(weights);
      Sorted sorted(weights);
      ranking.keep_share(share);
      sorted.keep_share(share);
      expect_same(ranking, sorted, random);
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace hadal::engine
