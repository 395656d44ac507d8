#include "hadal/ops/linear.h"

#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"
#include "hadal/kernels/test_weight.h"
#include "hadal/ops/test_context.h"

namespace hadal::ops {
namespace {

using kernels::kAllFormats;
using kernels::TestWeight;

constexpr float kGuard = 12345.0F;

// Of one FP32 operation, relative; and how many of them a term of these products meets at most: one addition in each of
// its lane's steps (in_features / 8), the tree, two scales, and one addition a block.
constexpr double kRounding = 0x1p-24;
constexpr double kRoundings = 100;

// The identity in any format: 1 and 0 are exact in all. For FP8, in two blocks whose scales are 1.
class Identity {
 public:
  Identity(Format format, int64_t n) : format_(format), n_(n) {
    data_.resize(static_cast<size_t>(n * n * bytes_per_element(format)));
    for (int64_t i = 0; i < n; ++i) put(i * (n + 1));
  }
  Weight weight() const {
    const bool scaled = format_ == Format::kF8E4M3;
    return {.name = "identity",
            .format = format_,
            .out_features = n_,
            .in_features = n_,
            .data = data_.data(),
            .scale = scaled ? ones_ : nullptr,
            .block_rows = scaled ? n_ : 0,
            .block_cols = scaled ? (n_ + 1) / 2 : 0,
            .first_row = 0};
  }

 private:
  void put(int64_t i) {
    const uint32_t one = format_ == Format::kF32    ? 0x3f800000
                         : format_ == Format::kBF16 ? 0x3f80
                         : format_ == Format::kF16  ? 0x3c00
                                                    : 0x38;
    const int64_t bytes = bytes_per_element(format_);
    std::memcpy(data_.data() + i * bytes, &one,
                static_cast<size_t>(bytes));  // little-endian, like safetensors
  }
  static constexpr float ones_[2] = {1.0F, 1.0F};
  Format format_;
  int64_t n_;
  std::vector<std::byte> data_;
};

// What a rounding makes of element i of x; blocks are the halves of x.
using Rounding = std::function<float(const std::vector<float>& x, size_t i)>;

float unrounded(const std::vector<float>& x, size_t i) {
  return x[i];
}
float to_nearest_bf16(const std::vector<float>& x, size_t i) {
  return round_to_bf16(x[i]);
}
float to_nearest_f8(const std::vector<float>& x, size_t i, bool powers_of_two) {
  const size_t half = (x.size() + 1) / 2, begin = i / half * half;
  float largest = 1e-4F;
  for (size_t j = begin; j < std::min(begin + half, x.size()); ++j)
    largest = std::max(largest, std::fabs(x[j]));
  float scale = largest / 448.0F;
  if (powers_of_two) {
    float power = 0x1p-60F;
    while (power < scale) power *= 2.0F;
    scale = power;
  }
  return static_cast<float>(exact_value(nearest_f8e4m3(x[i] / scale))) * scale;
}

Rounding expected_rounding(Format format, const Precision& precision) {
  if (format == Format::kF8E4M3 && precision.f8_activations) {
    return
        [&precision](const std::vector<float>& x, size_t i) { return to_nearest_f8(x, i, precision.ue8m0); };
  }
  const bool never = precision.f32 || format == Format::kF32 || format == Format::kF16;
  return never ? unrounded : to_nearest_bf16;
}

// Through the identity, y is what became of x: the whole rule of which precision rounds what, bit by bit.
TEST(Linear, RoundsItsInputByFormatAndPrecision) {
  TestRandom random(1);
  for (const Precision& precision : kAllPrecisions) {
    TestContext ctx(precision);
    for (const Format format : kAllFormats) {
      const Identity identity(format, 11);
      const std::vector<float> x = random.uniform_vector(11, 1.0F, 3.0F);
      Tensor<float, 2> in({1, 11}), out({1, 11});
      in.values() = x;
      linear(ctx, in.view(), identity.weight(), out.view());
      const Rounding rounding = expected_rounding(format, precision);
      for (size_t i = 0; i < x.size(); ++i) {
        EXPECT_EQ(out.values()[i], rounding(x, i)) << to_string(format) << ", f32 " << precision.f32;
        EXPECT_NE(x[i], round_to_bf16(x[i])) << "a number that rounding would not change shows nothing";
      }
      linear_f32(ctx, in.view(), identity.weight(), out.view());
      EXPECT_EQ(out.values(), x) << "linear_f32 never rounds";
    }
  }
}

// FP8 activations and --dtype float32 together: the quantisation is what was asked for, nothing else is rounded.
TEST(Linear, W8A8UnderFloat32QuantisesFp8WeightsOnly) {
  TestContext ctx(Precision{.f32 = true, .f8_activations = true});
  const std::vector<float> x = TestRandom(2).uniform_vector(8, 1.0F, 3.0F);
  Tensor<float, 2> in({1, 8}), out({1, 8});
  in.values() = x;
  linear(ctx, in.view(), Identity(Format::kBF16, 8).weight(), out.view());
  EXPECT_EQ(out.values(), x);
  linear(ctx, in.view(), Identity(Format::kF8E4M3, 8).weight(), out.view());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(out.values()[i], to_nearest_f8(x, i, false));
}

struct Blocks {
  int64_t rows, cols;
};
constexpr Blocks kBlocks[] = {{128, 128}, {96, 40}, {7, 9}};

// Whatever the shape: against double, in FP32, where the input is not rounded.
void expect_product(Context& ctx, const Weight& w, const TestWeight& values, int64_t first_row, int64_t m) {
  TestRandom random(3);
  Tensor<float, 2> x({m, w.in_features + 3}), y({m, w.out_features + 2});
  x.values() = random.uniform_vector(m * x.shape()[1], -1.0F, 1.0F);
  std::ranges::fill(y.values(), kGuard);
  linear(ctx, x.view().slice_last(0, w.in_features), w, y.view().slice_last(0, w.out_features));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t n = 0; n < w.out_features; ++n) {
      double exact = 0.0, magnitude = 0.0;
      for (int64_t k = 0; k < w.in_features; ++k) {
        const double term = x.view()[i][k] * values.value(first_row + n, k);
        exact += term;
        magnitude += std::fabs(term);
      }
      ASSERT_NEAR(y.view()[i][n], exact, kRoundings * kRounding * magnitude) << w.out_features << ", " << m;
    }
    ASSERT_EQ(y.view()[i][w.out_features], kGuard);
  }
}

TEST(Linear, IsTheProductInEveryFormat) {
  TestRandom random(4);
  TestContext ctx(kFloat32, 2);
  for (const Format format : kAllFormats) {
    for (const int64_t out : {1, 31, 32, 33, 100}) {
      for (const int64_t in : {1, 130, 520}) {
        const TestWeight w(random, format, out, in);
        for (const int64_t m : {1, 9}) expect_product(ctx, w.weight(), w, 0, m);
      }
    }
  }
}

TEST(Linear, AppliesBlockScalesAlsoInAViewOfSomeRows) {
  TestRandom random(5);
  TestContext ctx(kFloat32, 2);
  for (const Blocks& blocks : kBlocks) {
    const TestWeight w(random, Format::kF8E4M3, 200, 300, blocks.rows, blocks.cols);
    expect_product(ctx, w.weight(), w, 0, 3);
    for (const int64_t first_row : {1, 95, 129}) {
      expect_product(ctx, w.weight().rows(first_row, 71), w, first_row, 2);
    }
  }
}

// The same product on `threads` threads, rows [first, first + count) of 13 of them.
std::vector<float> part_of_product(const Precision& precision, int threads, const Weight& w, int64_t first,
                                   int64_t count) {
  TestContext ctx(precision, threads);
  Tensor<float, 2> x({13, w.in_features}), y({count, w.out_features});
  x.values() = TestRandom(6).uniform_vector(13 * w.in_features, -1.0F, 1.0F);
  linear(ctx, x.view().rows(first, count), w, y.view());
  return y.values();
}

TEST(Linear, BitsDependNeitherOnThreadsNorOnTheBatch) {
  TestRandom random(7);
  for (const Precision& precision : kAllPrecisions) {
    for (const Format format : kAllFormats) {
      const int64_t block = format == Format::kF8E4M3 ? 40 : 0;
      const TestWeight w(random, format, 150, 130, block, block);
      const std::vector<float> whole = part_of_product(precision, 1, w.weight(), 0, 13);
      ASSERT_EQ(part_of_product(precision, 4, w.weight(), 0, 13), whole);
      std::vector<float> alone;
      for (int64_t i = 0; i < 13; ++i) {
        const auto row = part_of_product(precision, 3, w.weight(), i, 1);
        alone.insert(alone.end(), row.begin(), row.end());
      }
      ASSERT_EQ(alone, whole) << to_string(format);
    }
  }
}

TEST(Linear, NoRowsAreNoWork) {
  TestContext ctx;
  const Identity identity(Format::kF32, 4);
  Tensor<float, 2> nothing({0, 4});
  EXPECT_NO_THROW(linear(ctx, nothing.view(), identity.weight(), nothing.view()));
}

TEST(Linear, NamesTheWeightThatDoesNotFit) {
  TestContext ctx;
  const Identity identity(Format::kF32, 4);
  Tensor<float, 2> four({2, 4}), five({2, 5}), three_rows({3, 4});
  const auto refusal = [&](Mat<const float> x, Mat<float> y) {
    return error_of(ErrorKind::kInternal, [&] { linear(ctx, x, identity.weight(), y); });
  };
  EXPECT_TRUE(contains(refusal(five.view(), four.view()), "x [2, 5] through identity [4, 4] into [2, 4]"));
  EXPECT_TRUE(contains(refusal(four.view(), five.view()), "into [2, 5]"));
  EXPECT_TRUE(contains(refusal(four.view(), three_rows.view()), "into [3, 4]"));
  error_of(ErrorKind::kInternal,
           [&] { linear(ctx, four.view(), Weight{.name = "absent", .in_features = 4}, four.view()); });
}

TEST(LinearRows, TakesTheRowsAskedFor) {
  TestRandom random(8);
  const TestWeight w(random, Format::kBF16, 40, 20);
  TestContext ctx;
  Tensor<float, 2> x({5, 20}), all({5, 40}), some({4, 40});
  x.values() = random.uniform_vector(100, -1.0F, 1.0F);
  linear(ctx, x.view(), w.weight(), all.view());
  const std::vector<int32_t> rows = {4, 0, 2, 0};
  linear_rows(ctx, x.view(), rows, w.weight(), some.view());
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t n = 0; n < 40; ++n) {
      ASSERT_EQ(some.view()[i][n], all.view()[rows[static_cast<size_t>(i)]][n]);
    }
  }
}

TEST(Embed, GivesRowsAsTheyAre) {
  TestRandom random(9);
  for (const Format format : kAllFormats) {
    const TestWeight table(random, format, 50, 13);
    TestContext ctx({}, 2);  // whatever the precision: an embedding is no product
    std::vector<int32_t> ids = {49, 0, 7, 7};
    for (int i = 0; i < 40; ++i) ids.push_back(static_cast<int32_t>(random.below(50)));
    Tensor<float, 2> y({static_cast<int64_t>(ids.size()), 13});
    embed(ctx, ids, table.weight(), y.view());
    for (int64_t t = 0; t < y.shape()[0]; ++t) {
      for (int64_t i = 0; i < 13; ++i) {
        ASSERT_EQ(double{y.view()[t][i]}, table.value(ids[static_cast<size_t>(t)], i)) << to_string(format);
      }
    }
  }
}

}  // namespace
}  // namespace hadal::ops
