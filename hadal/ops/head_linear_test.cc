#include <cmath>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"
#include "hadal/kernels/test_weight.h"
#include "hadal/ops/linear.h"
#include "hadal/ops/test_context.h"

namespace hadal::ops {
namespace {

using kernels::kAllFormats;
using kernels::TestWeight;

// Rows of a head's part of kv_b_proj: N of keys, then V of values.
constexpr int64_t kHeads = 3, kNope = 13, kValue = 9, kRank = 50, kRowsPerHead = kNope + kValue;

// One FP32 rounding, relative, and the additions that a term meets at most: see linear_test.
constexpr double kTolerance = 100 * 0x1p-24;

TestWeight kv_b(TestRandom& random, Format format) {
  const bool scaled = format == Format::kF8E4M3;  // blocks that fit neither heads nor the two parts
  return {random, format, kHeads * kRowsPerHead, kRank, scaled ? 15 : 0, scaled ? 24 : 0};
}

Tensor<float, 3> random_cube(TestRandom& random, int64_t tokens, int64_t width) {
  Tensor<float, 3> cube({tokens, kHeads, width});
  cube.values() = random.uniform_vector(tokens * kHeads * width, -1.0F, 1.0F);
  return cube;
}

// W8A8 or not, these are never quantised: BF16 where linear() rounds at all.
double rounded(float x, Format format, const Precision& precision) {
  const bool never = precision.f32 || format == Format::kF32 || format == Format::kF16;
  return never ? x : round_to_bf16(x);
}

TEST(HeadLinear, MultipliesEachHeadByItsRows) {
  TestRandom random(1);
  for (const Precision& precision : kAllPrecisions) {
    for (const Format format : kAllFormats) {
      TestContext ctx(precision, 2);
      const TestWeight w = kv_b(random, format);
      for (const int64_t tokens : {1, 4}) {
        auto x = random_cube(random, tokens, kRank + 2);
        Tensor<float, 3> y({tokens, kHeads, kValue});
        head_linear(ctx, x.view().slice_last(0, kRank), w.weight(), kRowsPerHead, kNope, y.view());
        for (int64_t t = 0; t < tokens; ++t) {
          for (int64_t h = 0; h < kHeads; ++h) {
            for (int64_t v = 0; v < kValue; ++v) {
              double exact = 0.0, magnitude = 0.0;
              for (int64_t r = 0; r < kRank; ++r) {
                const double term =
                    rounded(x.view()[t][h][r], format, precision) * w.value(h * kRowsPerHead + kNope + v, r);
                exact += term;
                magnitude += std::fabs(term);
              }
              ASSERT_NEAR(y.view()[t][h][v], exact, kTolerance * magnitude) << to_string(format);
            }
          }
        }
      }
    }
  }
}

TEST(HeadLinearTransposed, MultipliesByTheOtherSide) {
  TestRandom random(2);
  for (const Precision& precision : kAllPrecisions) {
    for (const Format format : kAllFormats) {
      TestContext ctx(precision, 2);
      const TestWeight w = kv_b(random, format);
      for (const int64_t tokens : {1, 4}) {
        auto x = random_cube(random, tokens, kNope + 3);
        Tensor<float, 3> y({tokens, kHeads, kRank + 5});
        head_linear_transposed(ctx, x.view().slice_last(0, kNope), w.weight(), kRowsPerHead,
                               y.view().slice_last(0, kRank));
        for (int64_t t = 0; t < tokens; ++t) {
          for (int64_t h = 0; h < kHeads; ++h) {
            for (int64_t r = 0; r < kRank; ++r) {
              double exact = 0.0, magnitude = 0.0;
              for (int64_t n = 0; n < kNope; ++n) {
                const double term =
                    rounded(x.view()[t][h][n], format, precision) * w.value(h * kRowsPerHead + n, r);
                exact += term;
                magnitude += std::fabs(term);
              }
              ASSERT_NEAR(y.view()[t][h][r], exact, kTolerance * magnitude) << to_string(format);
            }
            ASSERT_EQ(y.view()[t][h][kRank], 0.0F) << "beyond the result";
          }
        }
      }
    }
  }
}

// Both products at once, for tokens [first, first + count) of 7.
std::vector<float> both(const Precision& precision, int threads, const Weight& w, int64_t first,
                        int64_t count) {
  TestContext ctx(precision, threads);
  TestRandom random(3);
  auto q = random_cube(random, 7, kNope), u = random_cube(random, 7, kRank);
  Tensor<float, 3> latent({count, kHeads, kRank}), values({count, kHeads, kValue});
  head_linear_transposed(ctx, q.view().rows(first, count), w, kRowsPerHead, latent.view());
  head_linear(ctx, u.view().rows(first, count), w, kRowsPerHead, kNope, values.view());
  std::vector<float> all = latent.values();
  all.insert(all.end(), values.values().begin(), values.values().end());
  return all;
}

TEST(HeadLinear, BitsDependNeitherOnThreadsNorOnTheBatch) {
  TestRandom random(4);
  for (const Format format : kAllFormats) {
    const TestWeight w = kv_b(random, format);
    const auto whole = both({}, 1, w.weight(), 0, 7);
    ASSERT_EQ(both({}, 4, w.weight(), 0, 7), whole);
    for (int64_t t = 0; t < 7; ++t) {
      const auto alone = both({}, 1, w.weight(), t, 1);
      const int64_t latents = kHeads * kRank, values = kHeads * kValue;
      ASSERT_TRUE(std::equal(alone.begin(), alone.begin() + latents, whole.begin() + t * latents));
      ASSERT_TRUE(std::equal(alone.begin() + latents, alone.end(), whole.begin() + 7 * latents + t * values));
    }
  }
}

TEST(HeadLinear, RefusesWhatDoesNotFit) {
  TestRandom random(5);
  TestContext ctx;
  const TestWeight w = kv_b(random, Format::kF32);
  Tensor<float, 3> x({1, kHeads, kRank}), y({1, kHeads, kValue});
  EXPECT_TRUE(
      contains(error_of(ErrorKind::kInternal,
                        [&] { head_linear(ctx, x.view(), w.weight(), kRowsPerHead, kNope + 1, y.view()); }),
               "head_linear: x [1, 3, 50] through test.weight"));
  error_of(ErrorKind::kInternal,
           [&] { head_linear(ctx, x.view(), w.weight(), kRowsPerHead + 1, 0, y.view()); });
  EXPECT_TRUE(
      contains(error_of(ErrorKind::kInternal,
                        [&] { head_linear_transposed(ctx, x.view(), w.weight(), kRowsPerHead, y.view()); }),
               "head_linear_transposed: x [1, 3, 50]"));
}

}  // namespace
}  // namespace hadal::ops
