#include <memory>
#include <numeric>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"
#include "hadal/kernels/test_weight.h"
#include "hadal/ops/linear.h"
#include "hadal/ops/test_context.h"

namespace hadal::ops {
namespace {

using kernels::kAllFormats;
using kernels::TestWeight;

constexpr int64_t kIn = 50, kOut = 70;  // three strips of output features

// Experts and the (token, expert) pairs that go through them.
struct Routing {
  std::vector<std::unique_ptr<TestWeight>> stored;
  std::vector<Weight> experts;
  std::vector<int32_t> token_of, expert_start = {0};

  Routing(TestRandom& random, Format format, const std::vector<int64_t>& pairs, int64_t tokens) {
    const int64_t block = format == Format::kF8E4M3 ? 24 : 0;
    for (const int64_t count : pairs) {
      stored.push_back(std::make_unique<TestWeight>(random, format, kOut, kIn, block, block));
      experts.push_back(stored.back()->weight());
      for (int64_t i = 0; i < count; ++i) token_of.push_back(static_cast<int32_t>(random.below(tokens)));
      expert_start.push_back(static_cast<int32_t>(token_of.size()));
    }
  }
  int64_t num_pairs() const { return static_cast<int64_t>(token_of.size()); }
};

Tensor<float, 2> through_experts(const Precision& precision, int threads, Mat<const float> x,
                                 const Routing& routing) {
  TestContext ctx(precision, threads);
  Tensor<float, 2> y({routing.num_pairs(), kOut});
  expert_linear(ctx, x, routing.token_of, routing.expert_start, routing.experts, y.view());
  return y;
}

// The definition: pair by pair through linear(), of one row, on one thread.
Tensor<float, 2> one_by_one(const Precision& precision, Mat<const float> x, const Routing& routing) {
  TestContext ctx(precision);
  Tensor<float, 2> y({routing.num_pairs(), kOut});
  for (size_t e = 0; e < routing.experts.size(); ++e) {
    for (int64_t p = routing.expert_start[e]; p < routing.expert_start[e + 1]; ++p) {
      const int64_t token = routing.token_of[static_cast<size_t>(p)];
      linear(ctx, x.rows(token, 1), routing.experts[e], y.view().rows(p, 1));
    }
  }
  return y;
}

TEST(ExpertLinear, HasTheBitsOfOneExpertAndOneTokenAtATime) {
  TestRandom random(1);
  Tensor<float, 2> x({6, kIn + 2});
  x.values() = random.uniform_vector(6 * (kIn + 2), -1.0F, 1.0F);
  const Mat<const float> in = x.view().slice_last(0, kIn);
  const std::vector<std::vector<int64_t>> loads = {
      {1}, {0, 0, 2}, {3, 0, 1, 5, 0}, {0, 9, 0}, {2, 2, 2, 2, 2, 2}};
  for (const Precision& precision : kAllPrecisions) {
    for (const Format format : kAllFormats) {
      for (const auto& load : loads) {
        const Routing routing(random, format, load, 6);
        const auto expected = one_by_one(precision, in, routing);
        for (const int threads : {1, 4}) {
          ASSERT_EQ(through_experts(precision, threads, in, routing).values(), expected.values())
              << to_string(format) << ", " << threads << " threads";
        }
      }
    }
  }
}

TEST(ExpertLinear, NoPairsAreNoWork) {
  TestRandom random(2);
  const Routing routing(random, Format::kBF16, {0, 0}, 1);
  Tensor<float, 2> x({1, kIn});
  EXPECT_EQ(through_experts({}, 1, x.view(), routing).shape()[0], 0);
}

TEST(ExpertLinear, RefusesWhatDoesNotFit) {
  TestRandom random(3);
  TestContext ctx;
  const Routing routing(random, Format::kBF16, {1, 1}, 2);
  Tensor<float, 2> x({2, kIn}), wide({2, kIn + 1}), y({2, kOut});
  const auto refusal = [&](Mat<const float> in, std::span<const int32_t> starts) {
    return error_of(ErrorKind::kInternal,
                    [&] { expert_linear(ctx, in, routing.token_of, starts, routing.experts, y.view()); });
  };
  const std::vector<int32_t> starts = {0, 2};
  EXPECT_TRUE(contains(refusal(x.view(), starts), "2 starts for 2 experts"));
  EXPECT_TRUE(contains(refusal(wide.view(), routing.expert_start), "x [2, 51] through test.weight"));
}

}  // namespace
}  // namespace hadal::ops
