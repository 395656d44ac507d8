#include <cmath>
#include <complex>
#include <limits>

#include <gtest/gtest.h>

#include "hadal/core/test_random.h"
#include "hadal/core/view.h"
#include "hadal/kernels/kernel_table.h"

namespace hadal::kernels {
namespace {

constexpr float kGuard = 12345.0F;
constexpr double kRounding = 0x1p-24;  // of one FP32 operation, relative

// Rounded in FP32: the mean, + eps, the root, its inverse, and two products.
constexpr double kRmsnormTolerance = 6 * kRounding;

TEST(Rmsnorm, IsTheFormula) {
  for (const KernelTable* table : runnable_tables()) {
    for (const int64_t n : {1, 2, 7, 8, 9, 63, 1536}) {
      for (const double eps : {1e-6, 1e-2}) {
        constexpr int64_t kRows = 3;
        TestRandom random(1);
        const auto x = random.uniform_vector(kRows * (n + 2), -3.0F, 3.0F);
        const auto weight = random.uniform_vector(n, -2.0F, 2.0F);
        Tensor<float, 2> y({kRows, n + 1});
        std::ranges::fill(y.values(), kGuard);
        table->rmsnorm(x.data(), n + 2, weight.data(), y.view().data, n + 1, kRows, n, eps);
        for (int64_t r = 0; r < kRows; ++r) {
          const float* row = x.data() + r * (n + 2);
          double sum_sq = 0.0;
          for (int64_t i = 0; i < n; ++i) sum_sq += double{row[i]} * row[i];
          const double scale = 1.0 / std::sqrt(sum_sq / static_cast<double>(n) + eps);
          for (int64_t i = 0; i < n; ++i) {
            const double exact = row[i] * scale * weight[static_cast<size_t>(i)];
            ASSERT_NEAR(y.view()[r][i], exact, kRmsnormTolerance * std::fabs(exact)) << n;
          }
          ASSERT_EQ(y.view()[r][n], kGuard);
        }
      }
    }
  }
}

// W8A8 has ties that hang on the last bit (KernelTable). Sizes around the rounds and cascades of partial sums.
TEST(Rmsnorm, HasTheBitsOfTheReference) {
  const KernelTable& ref = *runnable_tables().front();
  for (const KernelTable* table : runnable_tables()) {
    for (const int64_t n : {1, 7, 8, 31, 32, 33, 64, 511, 512, 513, 1536, 7168, 7185}) {
      TestRandom random(static_cast<uint32_t>(n));
      const auto x = random.uniform_vector(2 * n, -3.0F, 3.0F),
                 weight = random.uniform_vector(n, -2.0F, 2.0F);
      std::vector<float> expected(x.size()), found(x.size());
      ref.rmsnorm(x.data(), n, weight.data(), expected.data(), n, 2, n, 1e-6);
      table->rmsnorm(x.data(), n, weight.data(), found.data(), n, 2, n, 1e-6);
      ASSERT_EQ(found, expected) << table->isa << ", " << n;
    }
  }
}

TEST(Rmsnorm, WorksInPlace) {
  for (const KernelTable* table : runnable_tables()) {
    TestRandom random(2);
    auto x = random.uniform_vector(3 * 10, -1.0F, 1.0F);
    const auto weight = random.uniform_vector(9, -1.0F, 1.0F);
    auto y = x;
    table->rmsnorm(x.data(), 10, weight.data(), y.data(), 10, 3, 9, 1e-6);
    table->rmsnorm(x.data(), 10, weight.data(), x.data(), 10, 3, 9, 1e-6);
    EXPECT_EQ(x, y);
  }
}

TEST(Rmsnorm, AZeroRowStaysZero) {
  for (const KernelTable* table : runnable_tables()) {
    std::vector<float> x(8, 0.0F);
    const std::vector<float> weight(8, 1.0F);
    table->rmsnorm(x.data(), 8, weight.data(), x.data(), 8, 1, 8, 1e-6);
    EXPECT_EQ(x, std::vector<float>(8, 0.0F));
  }
}

// exp, the sum, the quotient, the product; the library's exp is good to one unit in the last place, two roundings.
constexpr double kSwigluTolerance = 6 * kRounding;

TEST(Swiglu, IsTheFormula) {
  for (const KernelTable* table : runnable_tables()) {
    for (const int64_t n : {1, 7, 8, 9, 1000}) {
      TestRandom random(3);
      const auto gate = random.uniform_vector(n, -20.0F, 20.0F), up = random.uniform_vector(n, -5.0F, 5.0F);
      std::vector<float> y(static_cast<size_t>(n) + 1, kGuard);
      table->swiglu(gate.data(), up.data(), y.data(), n);
      for (size_t i = 0; i < gate.size(); ++i) {
        const double exact = gate[i] / (1.0 + std::exp(-double{gate[i]})) * up[i];
        ASSERT_NEAR(y[i], exact, kSwigluTolerance * std::fabs(exact)) << gate[i];
      }
      EXPECT_EQ(y.back(), kGuard);
      for (const bool over_gate : {true, false}) {
        auto g = gate, u = up;
        float* out = over_gate ? g.data() : u.data();
        table->swiglu(g.data(), u.data(), out, n);
        EXPECT_TRUE(std::equal(out, out + n, y.begin())) << "in place";
      }
    }
  }
}

TEST(Swiglu, HasTheRightLimits) {
  for (const KernelTable* table : runnable_tables()) {
    const std::vector<float> gate = {-1e4F, -100.0F, 0.0F, 100.0F, 1e30F},
                             up = {2.0F, 2.0F, 2.0F, 2.0F, 2.0F};
    std::vector<float> y(5);
    table->swiglu(gate.data(), up.data(), y.data(), 5);
    EXPECT_EQ(y[0], 0.0F);
    EXPECT_NEAR(y[1], 0.0F, 1e-37);  // -100 exp(-100), a subnormal
    EXPECT_EQ(y[2], 0.0F);
    EXPECT_EQ(y[3], 200.0F);
    EXPECT_EQ(y[4], 2e30F);
  }
}

// The cosines and sines of one position for these frequencies.
struct Angles {
  std::vector<float> cosine, sine;
  Angles(int64_t pairs, double position) {
    for (int64_t i = 0; i < pairs; ++i) {
      const double angle = position * std::pow(100.0, -static_cast<double>(i) / static_cast<double>(pairs));
      cosine.push_back(static_cast<float>(std::cos(angle)));
      sine.push_back(static_cast<float>(std::sin(angle)));
    }
  }
};

std::vector<float> rotated(const KernelTable& table, std::vector<float> x, double position) {
  const auto pairs = static_cast<int64_t>(x.size()) / 2;
  const Angles angles(pairs, position);
  table.rope(x.data(), 2 * pairs, 1, pairs, angles.cosine.data(), angles.sine.data());
  return x;
}

// Two products of rounded factors and an addition, of numbers of at most 1.
constexpr double kRopeTolerance = 6 * kRounding;

TEST(Rope, MultipliesEachPairByItsComplexNumber) {
  for (const KernelTable* table : runnable_tables()) {
    for (const int64_t pairs : {1, 3, 4, 32}) {
      constexpr int64_t kHeads = 3;
      const int64_t stride = 2 * pairs + 5;
      TestRandom random(4);
      const auto before = random.uniform_vector(kHeads * stride, -1.0F, 1.0F);
      auto x = before;
      const Angles angles(pairs, 17.0);
      table->rope(x.data(), stride, kHeads, pairs, angles.cosine.data(), angles.sine.data());
      for (int64_t i = 0; i < kHeads * stride; ++i) {
        const auto at = static_cast<size_t>(i);
        const int64_t in_head = i % stride;
        if (in_head >= 2 * pairs) {
          ASSERT_EQ(x[at], before[at]) << "between the heads";
          continue;
        }
        if (in_head % 2 != 0) continue;
        const auto pair = static_cast<size_t>(in_head / 2);
        const std::complex<double> factor(angles.cosine[pair], angles.sine[pair]);
        const std::complex<double> expected = std::complex<double>(before[at], before[at + 1]) * factor;
        ASSERT_NEAR(x[at], expected.real(), kRopeTolerance);
        ASSERT_NEAR(x[at + 1], expected.imag(), kRopeTolerance);
      }
    }
  }
}

TEST(Rope, HasTheBitsOfTheReference) {
  for (const KernelTable* table : runnable_tables()) {
    for (const int64_t pairs : {1, 4, 7, 32}) {
      const auto x = TestRandom(8).uniform_vector(2 * pairs, -1.0F, 1.0F);
      EXPECT_EQ(rotated(*table, x, 77.0), rotated(*runnable_tables().front(), x, 77.0)) << table->isa;
    }
  }
}

TEST(Rope, PositionZeroChangesNothing) {
  for (const KernelTable* table : runnable_tables()) {
    const auto x = TestRandom(5).uniform_vector(64, -1.0F, 1.0F);
    EXPECT_EQ(rotated(*table, x, 0.0), x);
  }
}

TEST(Rope, KeepsTheLengthOfEachPair) {
  for (const KernelTable* table : runnable_tables()) {
    const auto x = TestRandom(6).uniform_vector(64, -1.0F, 1.0F);
    const auto y = rotated(*table, x, 1234.0);
    for (size_t i = 0; i < x.size(); i += 2) {
      EXPECT_NEAR(std::hypot(y[i], y[i + 1]), std::hypot(x[i], x[i + 1]), kRopeTolerance);
    }
    EXPECT_NE(x, y);
  }
}

// The point of it all: a query at m and a key at n see only m - n.
TEST(Rope, ProductsDependOnTheDistanceOnly) {
  constexpr double kTolerance = 64 * kRopeTolerance;  // a dot product of 64 numbers of at most 1
  for (const KernelTable* table : runnable_tables()) {
    TestRandom random(7);
    const auto q = random.uniform_vector(64, -1.0F, 1.0F), k = random.uniform_vector(64, -1.0F, 1.0F);
    const auto product = [&](double m, double n) {
      const auto a = rotated(*table, q, m), b = rotated(*table, k, n);
      double dot = 0.0;
      for (size_t i = 0; i < a.size(); ++i) dot += double{a[i]} * b[i];
      return dot;
    };
    for (const double distance : {0.0, 1.0, 5.0, 300.0}) {
      for (const double shift : {1.0, 64.0, 100'000.0}) {
        EXPECT_NEAR(product(distance + shift, shift), product(distance, 0.0), kTolerance);
      }
    }
    EXPECT_GT(std::fabs(product(5.0, 0.0) - product(0.0, 5.0)), 1000 * kTolerance) << "but on its sign, too";
  }
}

}  // namespace
}  // namespace hadal::kernels
