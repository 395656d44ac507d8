#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "hadal/core/dtype.h"
#include "hadal/core/test_random.h"
#include "hadal/core/view.h"
#include "hadal/kernels/kernel_table.h"

namespace hadal::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kGuard = 12345.0F;

// Scores here are at most 4, off by some 1e-6 (40 products of numbers below 1), and a probability's relative error is its
// score's; outputs are averages of numbers below 1, merged from at most 4 chunks.
constexpr double kTolerance = 1e-5;

struct Shape {
  int64_t queries = 1, key_dim = 8, value_dim = 8;
  std::vector<int64_t> chunks;  // keys in each
};

// Some queries against the keys of some chunks. Everything lies in wider rows than it needs.
class Attention {
 public:
  Attention(const Shape& shape, uint32_t seed) : shape_(shape) {
    TestRandom random(seed);
    for (const int64_t chunk : shape.chunks) num_keys_ += chunk;
    q = Tensor<float, 2>({shape.queries, shape.key_dim + 5});
    k = Tensor<float, 2>({num_keys_, shape.key_dim + 3});
    v = Tensor<float, 2>({num_keys_, shape.value_dim + 1});
    for (auto* tensor : {&q, &k, &v}) {
      tensor->values() = random.uniform_vector(static_cast<int64_t>(tensor->values().size()), -1.0F, 1.0F);
    }
    for (int64_t i = 0; i < shape.queries; ++i) visible.push_back(num_keys_);
    reset();
  }

  void reset() {
    max.assign(static_cast<size_t>(shape_.queries), -kInfinity);
    sum.assign(static_cast<size_t>(shape_.queries), 0.0F);
    out = Tensor<float, 2>({shape_.queries, shape_.value_dim + 4});
    for (int64_t i = 0; i < shape_.queries; ++i) {
      for (int64_t d = shape_.value_dim; d < out.shape()[1]; ++d) out.view()[i][d] = kGuard;
    }
  }

  // Queries [first, first + count) against all chunks, in order.
  void run(const KernelTable& table, int64_t first, int64_t count) {
    int64_t key = 0;
    for (const int64_t chunk : shape_.chunks) {
      std::vector<int64_t> seen;
      for (int64_t i = first; i < first + count; ++i) {
        seen.push_back(std::clamp<int64_t>(visible[static_cast<size_t>(i)] - key, 0, chunk));
      }
      table.attend({.q = q.view()[first].data,
                    .ldq = q.shape()[1],
                    .k = k.view()[key].data,
                    .ldk = k.shape()[1],
                    .v = v.view()[key].data,
                    .ldv = v.shape()[1],
                    .visible = seen.data(),
                    .num_queries = count,
                    .num_keys = chunk,
                    .key_dim = shape_.key_dim,
                    .value_dim = shape_.value_dim,
                    .scale = scale,
                    .round_to_bf16 = round_to_bf16,
                    .max = &max[static_cast<size_t>(first)],
                    .sum = &sum[static_cast<size_t>(first)],
                    .out = out.view()[first].data,
                    .ldo = out.shape()[1]});
      key += chunk;
    }
  }
  void run(const KernelTable& table) { run(table, 0, shape_.queries); }

  double score(int64_t query, int64_t key) const {
    double dot = 0.0;
    for (int64_t d = 0; d < shape_.key_dim; ++d) dot += double{q.view()[query][d]} * k.view()[key][d];
    return dot * scale;
  }

  // Softmax over all visible keys at once, in double.
  std::vector<double> exact(int64_t query) const {
    const int64_t keys = visible[static_cast<size_t>(query)];
    std::vector<double> values(static_cast<size_t>(shape_.value_dim));
    double largest = -INFINITY, total = 0.0;
    for (int64_t j = 0; j < keys; ++j) largest = std::max(largest, score(query, j));
    for (int64_t j = 0; j < keys; ++j) {
      const double p = std::exp(score(query, j) - largest);
      total += p;
      for (size_t d = 0; d < values.size(); ++d) values[d] += p * v.view()[j][static_cast<int64_t>(d)];
    }
    for (double& value : values) value /= total;
    return values;
  }

  double result(int64_t query, int64_t d) const {
    return double{out.view()[query][d]} / sum[static_cast<size_t>(query)];
  }

  void expect_softmax(double tolerance) const {
    for (int64_t i = 0; i < shape_.queries; ++i) {
      if (visible[static_cast<size_t>(i)] == 0) continue;
      const std::vector<double> expected = exact(i);
      for (int64_t d = 0; d < shape_.value_dim; ++d) {
        ASSERT_NEAR(result(i, d), expected[static_cast<size_t>(d)], tolerance) << "query " << i << ", " << d;
      }
    }
    for (int64_t i = 0; i < shape_.queries; ++i) {
      for (int64_t d = shape_.value_dim; d < out.shape()[1]; ++d) ASSERT_EQ(out.view()[i][d], kGuard);
    }
  }

  Tensor<float, 2> q, k, v, out;
  std::vector<float> max, sum;
  std::vector<int64_t> visible;
  float scale = 0.3F;
  bool round_to_bf16 = false;

 private:
  Shape shape_;
  int64_t num_keys_ = 0;
};

const Shape kShapes[] = {
    {1, 8, 8, {1}},        {2, 8, 16, {2}},         {3, 16, 8, {7}},       {5, 40, 24, {65, 3}},
    {4, 24, 8, {9, 1, 5}}, {7, 8, 8, {512}},        {1, 32, 16, {512, 1}}, {2, 8, 64, {512, 512, 512, 17}},
    {16, 24, 16, {33}},    {17, 576, 512, {20, 4}},
};

TEST(Attend, IsASoftmaxMergedOverChunks) {
  for (const KernelTable* table : runnable_tables()) {
    for (const Shape& shape : kShapes) {
      SCOPED_TRACE(testing::Message() << table->isa << ", " << shape.queries << " queries");
      Attention attention(shape, 1);
      if (shape.key_dim > 40) attention.scale = 0.05F;  // keeps the scores below 4
      attention.run(*table);
      attention.expect_softmax(kTolerance);
    }
  }
}

TEST(Attend, KeepsTheRunningMaximumAndSum) {
  for (const KernelTable* table : runnable_tables()) {
    Attention attention({3, 16, 8, {30, 30}}, 2);
    attention.run(*table);
    for (int64_t i = 0; i < 3; ++i) {
      double largest = -INFINITY, total = 0.0;
      for (int64_t j = 0; j < 60; ++j) largest = std::max(largest, attention.score(i, j));
      for (int64_t j = 0; j < 60; ++j) total += std::exp(attention.score(i, j) - largest);
      EXPECT_NEAR(attention.max[static_cast<size_t>(i)], largest, kTolerance);
      EXPECT_NEAR(attention.sum[static_cast<size_t>(i)], total, kTolerance * total);
    }
  }
}

// A causal mask over several chunks; keys that nobody may see are NaN and still do no harm.
TEST(Attend, SeesTheVisibleKeysOnly) {
  for (const KernelTable* table : runnable_tables()) {
    for (const int64_t hidden_from : {0, 1, 5, 19, 20, 21, 39}) {
      Attention attention({7, 16, 8, {20, 20}}, 3);
      for (int64_t i = 0; i < 7; ++i)
        attention.visible[static_cast<size_t>(i)] = std::max<int64_t>(0, hidden_from - i);
      for (int64_t j = hidden_from; j < 40; ++j) {
        for (int64_t d = 0; d < 16; ++d) attention.k.view()[j][d] = kNaN;
        for (int64_t d = 0; d < 8; ++d) attention.v.view()[j][d] = kNaN;
      }
      attention.run(*table);
      SCOPED_TRACE(hidden_from);
      attention.expect_softmax(kTolerance);
    }
  }
}

TEST(Attend, NothingVisibleChangesNothing) {
  for (const KernelTable* table : runnable_tables()) {
    Attention attention({5, 8, 8, {12}}, 4);
    attention.run(*table);
    const auto max = attention.max, sum = attention.sum, out = attention.out.values();
    attention.visible.assign(5, 0);
    attention.run(*table);
    EXPECT_EQ(attention.max, max);
    EXPECT_EQ(attention.sum, sum);
    EXPECT_EQ(attention.out.values(), out);
    attention.reset();
    attention.run(*table);  // and on an empty state
    EXPECT_EQ(attention.max, std::vector<float>(5, -kInfinity));
    EXPECT_EQ(attention.sum, std::vector<float>(5, 0.0F));
    EXPECT_EQ(attention.out.view()[4][7], 0.0F);
  }
}

// A query's bits do not depend on which queries go through the chunk beside it, nor on how far those may see.
TEST(Attend, QueriesAloneHaveTheBitsOfABatch) {
  for (const KernelTable* table : runnable_tables()) {
    for (const bool round : {false, true}) {
      Attention together({9, 24, 16, {40, 13}}, 5), apart({9, 24, 16, {40, 13}}, 5);
      const std::vector<int64_t> visible = {0, 53, 1, 40, 41, 0, 17, 52, 3};
      for (Attention* attention : {&together, &apart}) {
        attention->visible = visible;
        attention->round_to_bf16 = round;
      }
      together.run(*table);
      for (const int64_t tile : {1, 2, 3, 4, 5}) {
        for (const int64_t offset : {int64_t{0}, int64_t{1}, tile - 1}) {
          apart.reset();
          if (offset > 0) apart.run(*table, 0, offset);
          for (int64_t i = offset; i < 9; i += tile) apart.run(*table, i, std::min(tile, 9 - i));
          ASSERT_EQ(apart.out.values(), together.out.values()) << "tiles of " << tile << " from " << offset;
          ASSERT_EQ(apart.max, together.max);
          ASSERT_EQ(apart.sum, together.sum);
        }
      }
    }
  }
}

// Scores far beyond what exp can take: the largest wins everything, and nothing overflows.
TEST(Attend, SurvivesHugeScores) {
  for (const KernelTable* table : runnable_tables()) {
    for (const float size : {1e3F, 1e10F, 1e30F}) {
      for (const bool largest_first : {true, false}) {
        Attention attention({2, 8, 8, {5, 5}}, 6);
        const int64_t winner = largest_first ? 1 : 8;
        for (int64_t j = 0; j < 10; ++j) attention.k.view()[j][0] = -size;
        attention.k.view()[winner][0] = size;
        for (int64_t i = 0; i < 2; ++i) attention.q.view()[i][0] = 1.0F;
        attention.run(*table);
        for (int64_t i = 0; i < 2; ++i) {
          EXPECT_EQ(attention.sum[static_cast<size_t>(i)], 1.0F);
          for (int64_t d = 0; d < 8; ++d)
            EXPECT_EQ(attention.out.view()[i][d], attention.v.view()[winner][d]);
        }
      }
    }
  }
}

// p is rounded for the product with v and not for the sum. Scores are powers of two's sums, so exact; the values count
// the keys apart: v_j = e_j.
TEST(Attend, RoundsProbabilitiesForTheValuesOnly) {
  for (const KernelTable* table : runnable_tables()) {
    Attention attention({1, 8, 8, {8}}, 7);
    attention.round_to_bf16 = true;
    attention.scale = 1.0F;
    double total = 0.0;
    for (int64_t j = 0; j < 8; ++j) {
      for (int64_t d = 0; d < 8; ++d) {
        attention.q.view()[0][d] = d == 0 ? 1.0F : 0.0F;
        attention.k.view()[j][d] = d == 0 ? -static_cast<float>(j) / 8 : 0.0F;
        attention.v.view()[j][d] = d == j ? 1.0F : 0.0F;
      }
      total += std::exp(-static_cast<double>(j) / 8);
    }
    attention.run(*table);
    int differ = 0;
    for (int64_t j = 0; j < 8; ++j) {
      // exp(-j / 8) lies well inside a BF16 interval for all these j: an error of the exponential changes nothing.
      const auto p = static_cast<float>(std::exp(-static_cast<double>(j) / 8));
      EXPECT_EQ(attention.out.view()[0][j], round_to_bf16(p)) << j;
      differ += round_to_bf16(p) != p ? 1 : 0;
    }
    EXPECT_EQ(differ, 7) << "all but exp(0) need rounding";
    EXPECT_NEAR(attention.sum[0], total, 8 * 0x1p-24 * total);  // eight additions
  }
}

TEST(Attend, RoundingCostsNoMoreThanBf16) {
  // A rounded p is off by at most 2^-9, relative; outputs are averages of numbers below 1.
  constexpr double kBf16Tolerance = 0x1p-9 + kTolerance;
  for (const KernelTable* table : runnable_tables()) {
    for (const Shape& shape : kShapes) {
      Attention attention(shape, 8);
      attention.round_to_bf16 = true;
      if (shape.key_dim > 40) attention.scale = 0.05F;
      attention.run(*table);
      attention.expect_softmax(kBf16Tolerance);
    }
  }
}

}  // namespace
}  // namespace hadal::kernels
