#include "hadal/convert/compensate.h"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "hadal/core/test_random.h"

namespace hadal::convert {
namespace {

constexpr float kStep = 0.1F, kLow = -8.0F, kHigh = 7.0F;
constexpr double kDamping = 0.1;  // as promised: a share of the mean diagonal

Grid uniform_grid(int64_t cols) {
  Grid grid(cols);
  std::ranges::fill(grid.step, kStep);
  std::ranges::fill(grid.low, kLow);
  std::ranges::fill(grid.high, kHigh);
  return grid;
}

float nearest(double value) {
  return static_cast<float>(std::nearbyint(std::clamp(value / kStep, double{kLow}, double{kHigh})));
}

// Rows that lie near a few directions, as activations do, and columns of different size.
Tensor<float, 2> inputs(TestRandom& random, int64_t rows, int64_t width) {
  Tensor<float, 2> x({rows, width});
  const auto mix = random.uniform_vector(3 * width, -1.0F, 1.0F);
  for (int64_t t = 0; t < rows; ++t) {
    const auto a = random.uniform_vector(3, -1.0F, 1.0F);
    for (int64_t k = 0; k < width; ++k) {
      float value = 0.4F * random.uniform(-1.0F, 1.0F);
      for (int64_t i = 0; i < 3; ++i)
        value += a[static_cast<size_t>(i)] * mix[static_cast<size_t>(i * width + k)];
      x.view()[t].data[k] = value * (1.0F + static_cast<float>(k % 5));
    }
  }
  return x;
}

Moments moments_of(const Tensor<float, 2>& x, int threads = 1) {
  ThreadPool pool(threads);
  Moments moments(x.shape()[1]);
  moments.add(x.view(), nullptr, pool);
  return moments;
}

std::vector<float> rounded(const Moments& moments, const std::vector<float>& values, int threads = 1) {
  ThreadPool pool(threads);
  const Compensation compensation(moments, pool);
  const std::vector<Grid> grids(values.size() / static_cast<size_t>(moments.width()),
                                uniform_grid(moments.width()));
  std::vector<float> codes(values.size());
  compensation.round(values, grids, codes);
  return codes;
}

// x of A x = b, by elimination: A symmetric and positive definite.
std::vector<double> solve(std::vector<std::vector<double>> a, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t i = 0; i < n; ++i) {
    for (size_t r = i + 1; r < n; ++r) {
      const double f = a[r][i] / a[i][i];
      for (size_t c = i; c < n; ++c) a[r][c] -= f * a[i][c];
      b[r] -= f * b[i];
    }
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t c = i + 1; c < n; ++c) b[i] -= a[i][c] * b[c];
    b[i] /= a[i][i];
  }
  return b;
}

// The definition: round the column with the largest inputs, then move all columns left to where the product's squared error
// is least, and so on.
std::vector<float> by_definition(const Moments& moments, std::vector<double> values) {
  const auto n = static_cast<size_t>(moments.width());
  std::vector<std::vector<double>> h(n, std::vector<double>(n));
  double trace = 0.0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) h[i][j] = moments.at(static_cast<int64_t>(i), static_cast<int64_t>(j));
    trace += h[i][i];
  }
  for (size_t i = 0; i < n; ++i) h[i][i] += kDamping * trace / static_cast<double>(n);
  std::vector<size_t> left(n);
  std::iota(left.begin(), left.end(), 0);
  std::ranges::sort(left, std::less<>(), [&](size_t i) { return h[i][i]; });
  std::vector<float> codes(n);
  while (!left.empty()) {
    const size_t k = left.back();
    left.pop_back();
    codes[k] = nearest(values[k]);
    const double off = codes[k] * double{kStep} - values[k];
    std::vector<std::vector<double>> a;
    std::vector<double> b;
    for (const size_t i : left) {
      a.emplace_back();
      for (const size_t j : left) a.back().push_back(h[i][j]);
      b.push_back(-off * h[i][k]);
    }
    const std::vector<double> moved = solve(a, b);
    for (size_t i = 0; i < left.size(); ++i) values[left[i]] += moved[i];
  }
  return codes;
}

double output_error(const Tensor<float, 2>& x, const std::vector<float>& values,
                    const std::vector<float>& codes) {
  double sum = 0.0;
  for (int64_t t = 0; t < x.shape()[0]; ++t) {
    double off = 0.0;
    for (size_t k = 0; k < values.size(); ++k)
      off += (values[k] - double{codes[k]} * kStep) * x.view()[t].data[k];
    sum += off * off;
  }
  return sum;
}

TEST(Moments, SumsOverTheGivenRows) {
  TestRandom random(1);
  const Tensor<float, 2> x = inputs(random, 150, 37);
  std::vector<int32_t> rows;
  for (int i = 0; i < 100; ++i) rows.push_back(static_cast<int32_t>(random.below(150)));
  const std::span<const int32_t> chosen = rows;
  ThreadPool pool(3);
  Moments moments(37);
  moments.add(x.view(), nullptr, pool);
  moments.add(x.view(), &chosen, pool);
  for (int64_t i = 0; i < 37; ++i) {
    for (int64_t j = 0; j < 37; ++j) {
      double sum = 0.0;
      for (int64_t t = 0; t < 150; ++t) sum += double{x.view()[t].data[i]} * x.view()[t].data[j];
      for (const int32_t t : rows) sum += double{x.view()[t].data[i]} * x.view()[t].data[j];
      EXPECT_NEAR(moments.at(i, j), sum, 1e-4 * std::sqrt(moments.at(i, i) * moments.at(j, j)));  // FP32 sums
    }
  }
}

TEST(Compensation, IsSuccessiveRoundingAndMovingOfTheRest) {
  TestRandom random(2);
  for (const int64_t width : {1, 2, 31, 64, 65, 150}) {  // blocks of 64 and their ends
    const Tensor<float, 2> x = inputs(random, 2 * width, width);
    const Moments moments = moments_of(x);
    const auto values = random.uniform_vector(3 * width, -0.6F, 0.6F);
    const auto codes = rounded(moments, values);
    for (int64_t r = 0; r < 3; ++r) {
      const auto begin = values.begin() + r * width;
      const auto expected = by_definition(moments, {begin, begin + width});
      const std::vector<float> found(codes.begin() + r * width, codes.begin() + (r + 1) * width);
      EXPECT_EQ(found, expected) << width << " columns, row " << r;
    }
  }
}

TEST(Compensation, ChangesProductsLess) {
  TestRandom random(3);
  const Tensor<float, 2> x = inputs(random, 600, 200);
  const auto values = random.uniform_vector(200, -0.6F, 0.6F);
  std::vector<float> plain;
  for (const float value : values) plain.push_back(nearest(value));
  EXPECT_LT(output_error(x, values, rounded(moments_of(x), values)), 0.3 * output_error(x, values, plain));
}

TEST(Compensation, WithoutInputsItIsPlainRounding) {
  TestRandom random(4);
  const auto values = random.uniform_vector(100, -1.2F, 1.2F);
  const auto codes = rounded(Moments(100), values);
  for (size_t k = 0; k < values.size(); ++k) EXPECT_EQ(codes[k], nearest(values[k])) << k;
}

TEST(Compensation, AColumnWithoutAStepIsZero) {
  TestRandom random(5);
  ThreadPool pool(1);
  const Compensation compensation(moments_of(inputs(random, 20, 4)), pool);
  std::vector<Grid> grids{uniform_grid(4)};
  grids[0].step[2] = 0.0F;
  std::vector<float> codes(4, 9.0F);
  compensation.round(random.uniform_vector(4, 0.1F, 0.5F), grids, codes);
  EXPECT_EQ(codes[2], 0.0F);
}

TEST(Compensation, SameBitsForAnyNumberOfThreads) {
  TestRandom random(6);
  const Tensor<float, 2> x = inputs(random, 300, 200);
  const auto values = random.uniform_vector(7 * 200, -0.6F, 0.6F);
  const auto codes = rounded(moments_of(x), values);
  EXPECT_EQ(rounded(moments_of(x, 3), values, 3), codes);
}

}  // namespace
}  // namespace hadal::convert
