#include <cmath>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"
#include "hadal/core/test_random.h"
#include "hadal/ops/activation.h"
#include "hadal/ops/norm.h"
#include "hadal/ops/rope.h"
#include "hadal/ops/test_context.h"

namespace hadal::ops {
namespace {

constexpr double kRounding = 0x1p-24;         // of one FP32 operation, relative
constexpr double kTolerance = 6 * kRounding;  // as many operations as the kernels' tests count
constexpr float kGuard = 12345.0F;

Tensor<float, 2> random_rows(uint32_t seed, int64_t rows, int64_t width) {
  Tensor<float, 2> x({rows, width});
  x.values() = TestRandom(seed).uniform_vector(rows * width, -2.0F, 2.0F);
  return x;
}

// All of it in windows of wider rows, on one thread and on four.
TEST(Rmsnorm, NormalisesEachRow) {
  for (const int threads : {1, 4}) {
    TestContext ctx({}, threads);
    auto x = random_rows(1, 37, 12);
    auto weight = random_rows(2, 1, 10);
    Tensor<float, 2> y({37, 11});
    std::ranges::fill(y.values(), kGuard);
    rmsnorm(ctx, x.view().slice_last(1, 10), weight.view()[0], 1e-3, y.view().slice_last(0, 10));
    for (int64_t t = 0; t < 37; ++t) {
      double sum = 0.0;
      for (int64_t i = 1; i <= 10; ++i) sum += double{x.view()[t][i]} * x.view()[t][i];
      for (int64_t i = 0; i < 10; ++i) {
        const double exact =
            x.view()[t][i + 1] / std::sqrt(sum / 10 + 1e-3) * weight.values()[static_cast<size_t>(i)];
        ASSERT_NEAR(y.view()[t][i], exact, kTolerance * std::fabs(exact));
      }
      ASSERT_EQ(y.view()[t][10], kGuard);
    }
  }
}

TEST(Add, AddsEachRow) {
  for (const int threads : {1, 4}) {
    TestContext ctx({}, threads);
    auto x = random_rows(5, 50, 6), y = random_rows(6, 50, 5);
    const auto before = x;
    add(ctx, y.view(), x.view().slice_last(0, 5));
    for (int64_t t = 0; t < 50; ++t) {
      for (int64_t i = 0; i < 5; ++i) ASSERT_EQ(x.view()[t][i], before.view()[t][i] + y.view()[t][i]);
      ASSERT_EQ(x.view()[t][5], before.view()[t][5]);
    }
  }
}

// The angle is an FP32 product, as the official code has it; its cosine and sine are as good as FP32 can hold them.
TEST(RotaryAngles, AreThoseOfTheRoundedProduct) {
  TestContext ctx;
  const std::vector<int32_t> positions = {0, 1, 63, 4095, 163'839};
  const std::vector<float> inv_freq = {1.0F, 0.31622776F, 1e-4F};
  for (const float magnitude : {1.0F, 1.2608F}) {
    const auto frame = ctx.scratch().frame();
    const RotaryAngles angles = rotary_angles(ctx, positions, inv_freq, magnitude);
    ASSERT_EQ(angles.cosine.shape, (std::array<int64_t, 2>{5, 3}));
    for (int64_t t = 0; t < 5; ++t) {
      for (int64_t i = 0; i < 3; ++i) {
        const double angle =
            static_cast<float>(positions[static_cast<size_t>(t)]) * inv_freq[static_cast<size_t>(i)];
        EXPECT_NEAR(angles.cosine[t][i], std::cos(angle) * magnitude, 3 * kRounding);
        EXPECT_NEAR(angles.sine[t][i], std::sin(angle) * magnitude, 3 * kRounding);
      }
    }
  }
}

TEST(Rope, RotatesRowsByTheirOwnAngles) {
  constexpr int64_t kTokens = 20, kHeads = 3, kPairs = 2, kFirst = 5;
  const std::vector<float> inv_freq = {1.0F, 0.01F};
  std::vector<int32_t> positions;
  for (int32_t t = 0; t < kTokens + kFirst; ++t) positions.push_back(7 * t + 1);
  for (const int threads : {1, 4}) {
    TestContext ctx({}, threads);
    const RotaryAngles angles = rotary_angles(ctx, positions, inv_freq, 1.0F);
    auto rows = random_rows(7, kTokens, kHeads * 6);
    const auto before = rows;
    rope(ctx, angles, kFirst, split_heads(rows.view(), kHeads).slice_last(2, 2 * kPairs));
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t h = 0; h < kHeads; ++h) {
        const auto old = split_heads(before.view(), kHeads)[t][h],
                   now = split_heads<const float>(rows.view(), kHeads)[t][h];
        ASSERT_EQ(now[0], old[0]) << "the part that is not rotated";
        ASSERT_EQ(now[1], old[1]);
        for (int64_t i = 0; i < kPairs; ++i) {
          const double angle = static_cast<float>(positions[static_cast<size_t>(t + kFirst)]) *
                               inv_freq[static_cast<size_t>(i)];
          const double a = old[2 + 2 * i], b = old[3 + 2 * i];
          ASSERT_NEAR(now[2 + 2 * i], a * std::cos(angle) - b * std::sin(angle), 2 * kTolerance);
          ASSERT_NEAR(now[3 + 2 * i], a * std::sin(angle) + b * std::cos(angle), 2 * kTolerance);
        }
      }
    }
  }
}

TEST(Elementwise, RefusesOtherShapes) {
  TestContext ctx;
  Tensor<float, 2> a({2, 4}), b({2, 5});
  Tensor<float, 1> weight({5});
  const auto refused = [](const char* part, const std::function<void()>& action) {
    EXPECT_TRUE(contains(error_of(ErrorKind::kInternal, action), part));
  };
  refused("rmsnorm: x [2, 4]", [&] { rmsnorm(ctx, a.view(), weight.view(), 1e-6, a.view()); });
  refused("y [2, 5]", [&] { rmsnorm(ctx, a.view(), weight.view(), 1e-6, b.view()); });
  refused("add: [2, 4] to [2, 5]", [&] { add(ctx, a.view(), b.view()); });
  const std::vector<int32_t> positions = {0};
  const std::vector<float> inv_freq = {1.0F, 1.0F};
  const RotaryAngles angles = rotary_angles(ctx, positions, inv_freq, 1.0F);
  refused("rope: x [2, 1, 4]", [&] { rope(ctx, angles, 0, split_heads(a.view(), 1)); });
  refused("rope: x [1, 1, 5]", [&] { rope(ctx, angles, 0, split_heads(b.view().rows(0, 1), 1)); });
}

}  // namespace
}  // namespace hadal::ops
