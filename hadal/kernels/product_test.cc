#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "hadal/kernels/kernel_table.h"
#include "hadal/kernels/test_guarded.h"
#include "hadal/kernels/test_weight.h"

namespace hadal::kernels {
namespace {

constexpr float kGuard = 12345.0F;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr double kRounding = 0x1p-24;  // of one FP32 operation, relative

struct Case {
  Format format = Format::kBF16;
  bool integers = false;  // 8-bit activations; else BF16
  int64_t m = 1, n = 1, k = 1;
  int64_t block_rows = 0, block_cols = 0;
  int64_t first_n = 0;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << to_string(c.format) << (c.integers ? " x I8, " : " x BF16, ") << c.m << " x " << c.n << " x "
             << c.k << ", blocks of " << c.block_rows << " x " << c.block_cols << ", from row " << c.first_n;
}

const Product& product_of(const KernelTable& table, const Case& c) {
  return (c.integers ? table.i8 : table.bf16)[index_of(c.format)];
}

// One product and its operands.
class Trial {
 public:
  Trial(const Case& c, uint32_t seed)
      : case_(c),
        random_(seed),
        weight_(random_, c.format, c.first_n + c.n, c.k, c.block_rows, c.block_cols),
        guarded_(weight_.weight().data, weight_.weight().bytes()),
        x_({c.m + 2, c.k + 3}),
        c_({c.m + 1, c.n + 3}) {
    x_.values() = random_.uniform_vector((c.m + 2) * (c.k + 3), -1.0F, 1.0F);
    for (int64_t i = 0; i < c.m; ++i) rows_.push_back(static_cast<int32_t>(random_.below(c.m + 2)));
  }

  // Rows [row, row + count) of the activations times columns [col, col + cols) of the result.
  void compute(const KernelTable& table, int64_t row, int64_t count, int64_t col, int64_t cols) {
    const Product& product = product_of(table, case_);
    std::vector<std::byte> packed(static_cast<size_t>(packed_rows(count) * product.row_bytes(case_.k)));
    std::vector<float> scale(static_cast<size_t>(count));
    std::vector<int32_t> sum(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; i += kPanelRows) {
      product.pack({.x = x_.view()[0].data,
                    .ldx = x_.view().stride[0],
                    .rows = rows_.data() + row + i,
                    .m = std::min(kPanelRows, count - i),
                    .total_m = count,
                    .k = case_.k,
                    .format = case_.format,
                    .packed = packed.data() + i * product.row_bytes(case_.k),
                    .scale = scale.data() + i,
                    .sum = sum.data() + i});
    }
    Weight w = weight_.weight();
    w.data = guarded_.data();
    product.gemm({.a = packed.data(),
                  .a_scale = case_.integers ? scale.data() : nullptr,
                  .a_sum = case_.integers ? sum.data() : nullptr,
                  .w = w,
                  .first_n = case_.first_n + col,
                  .c = &c_.view()[row][col],
                  .ldc = c_.view().stride[0],
                  .m = count,
                  .n = cols});
  }
  const std::vector<float>& whole(const KernelTable& table) {
    clear();
    compute(table, 0, case_.m, 0, case_.n);
    return c_.values();
  }
  void clear() { std::ranges::fill(c_.values(), kGuard); }
  const std::vector<float>& result() const { return c_.values(); }

  // Element (i, j) in double, of activations rounded as the contract says; and the magnitude that errors scale with.
  std::pair<double, double> exact(int64_t i, int64_t j) const {
    const Vec<const float> x = x_.view()[rows_[static_cast<size_t>(i)]];
    float largest = 0.0F;
    for (int64_t k = 0; k < case_.k; ++k) largest = std::max(largest, std::fabs(x[k]));
    double sum = 0.0, magnitude = 0.0;
    for (int64_t k = 0; k < case_.k; ++k) {
      const double code = std::nearbyint(x[k] * (127.0F / largest));
      const double a = case_.integers ? code * (largest / 127.0F) : round_to_bf16(x[k]);
      const double term = a * weight_.value(case_.first_n + j, k);
      sum += term;
      magnitude += std::fabs(term);
    }
    return {sum, magnitude};
  }
  float at(int64_t i, int64_t j) { return c_.view()[i][j]; }

  // Writes into row x_row of the activations; row i of the product reads it if reads() says so.
  void spoil(int64_t x_row, int64_t k, float value) { x_.view()[x_row][k] = value; }
  void shrink(float factor) {
    for (float& value : x_.values()) value *= factor;
  }
  bool reads(int64_t i, int64_t x_row) const { return rows_[static_cast<size_t>(i)] == x_row; }

  void expect_guards_untouched() {
    for (int64_t i = 0; i <= case_.m; ++i) {
      for (int64_t j = i < case_.m ? case_.n : 0; j < case_.n + 3; ++j) ASSERT_EQ(c_.view()[i][j], kGuard);
    }
  }

 private:
  Case case_;
  TestRandom random_;
  TestWeight weight_;
  Guarded guarded_;
  Tensor<float, 2> x_, c_;
  std::vector<int32_t> rows_;
};

// The products of the row and the shapes whose borders differ: tiles of 16, strips of 32, lines of 64, chunks of 4096.
std::vector<Case> cases(const KernelTable& table) {
  std::vector<Case> all;
  for (const bool integers : {false, true}) {
    for (int f = 0; f < kNumFormats; ++f) {
      const Case base{.format = static_cast<Format>(f), .integers = integers};
      if (!product_of(table, base)) continue;
      std::vector<std::pair<int64_t, int64_t>> blocks = {{0, 0}};
      if (base.format == Format::kF8E4M3) blocks = {{128, 128}, {3, 64}, {128, kMaxScaleBlock}};
      if (base.format == Format::kI8) blocks = {{0, 0}, {0, 128}};
      if (base.format == Format::kI4) blocks = {{0, 32}, {0, 64}, {0, 128}};
      for (const auto& [block_rows, block_cols] : blocks) {
        for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 32, 64},
                                      {1, 70, 100},
                                      {3, 33, 257},
                                      {8, 5, 640},
                                      {13, 40, 128},
                                      {17, 31, 65},
                                      {33, 64, 300},
                                      {70, 48, 192},
                                      {290, 35, 130},
                                      {2, 32, 4100},
                                      {40, 16, 8250}}) {
          Case c = base;
          c.m = m, c.n = n, c.k = k, c.block_rows = block_rows, c.block_cols = block_cols, c.first_n = m % 3;
          all.push_back(c);
        }
      }
    }
  }
  return all;
}

template <class Check>
void for_each_case(const Check& check) {
  for (const KernelTable* table : runnable_tables()) {
    for (const Case& c : cases(*table)) {
      SCOPED_TRACE(testing::Message() << table->isa << ": " << c);
      Trial trial(c, 1);
      check(*table, c, trial);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(Product, IsTheProductOfRoundedActivations) {
  for_each_case([](const KernelTable& table, const Case& c, Trial& trial) {
    trial.whole(table);
    // Integers are exact up to the sum over blocks; in BF16 each addition of K rounds.
    const double roundings =
        c.integers ? 4.0 + static_cast<double>(c.k) / 128.0 : static_cast<double>(c.k + 8);
    for (int64_t i = 0; i < c.m; i += 1 + c.m / 16) {
      for (int64_t j = 0; j < c.n; j += 1 + c.n / 24) {
        const auto [exact, magnitude] = trial.exact(i, j);
        ASSERT_NEAR(trial.at(i, j), exact, roundings * kRounding * magnitude) << i << ", " << j;
      }
    }
    trial.expect_guards_untouched();
  });
}

TEST(Product, IntegersHaveTheBitsOfTheReference) {
  for_each_case([](const KernelTable& table, const Case& c, Trial& trial) {
    if (!c.integers) return;
    const std::vector<float> expected = trial.whole(*runnable_tables().front());
    ASSERT_EQ(trial.whole(table), expected);
  });
}

void expect_rows_alone_to_have_the_bits_of_a_batch(const KernelTable& table, const Case& c, Trial& trial) {
  const std::vector<float> together = trial.whole(table);
  for (const int64_t part : {1, 2, 3, 4, 5, 16}) {
    trial.clear();
    for (int64_t i = 0; i < c.m; i += part) trial.compute(table, i, std::min(part, c.m - i), 0, c.n);
    ASSERT_EQ(trial.result(), together) << part << " rows at a time";
    if (c.m > 100) break;
  }
}

TEST(Product, RowsAloneHaveTheBitsOfABatch) {
  for_each_case(expect_rows_alone_to_have_the_bits_of_a_batch);
}

// Tiles take denormal numbers as zero, and what does without tiles must as well.
TEST(Product, TinyRowsAloneHaveTheBitsOfABatch) {
  for_each_case([](const KernelTable& table, const Case& c, Trial& trial) {
    trial.shrink(3e-38F);
    expect_rows_alone_to_have_the_bits_of_a_batch(table, c, trial);
  });
}

TEST(Product, ColumnsInPartsHaveTheBitsOfTheWhole) {
  for_each_case([](const KernelTable& table, const Case& c, Trial& trial) {
    const std::vector<float> whole = trial.whole(table);
    for (const int64_t part : {7, 32}) {
      trial.clear();
      for (int64_t j = 0; j < c.n; j += part) trial.compute(table, 0, c.m, j, std::min(part, c.n - j));
      ASSERT_EQ(trial.result(), whole) << part << " columns at a time";
    }
  });
}

// A row of zeros, one whose largest number is too small to be divided by, and one that is no number.
TEST(Product, TakesRowsThatHaveNoCodes) {
  for (const KernelTable* table : runnable_tables()) {
    for (const Format format : kIntegerFormats) {
      const Product& product = table->i8[index_of(format)];
      for (const float value : {0.0F, 1e-38F, std::numeric_limits<float>::denorm_min(), kInfinity, -kNaN}) {
        const std::vector<float> x(64, value);
        std::vector<std::byte> packed(static_cast<size_t>(product.row_bytes(64)));
        float scale = -1.0F;
        int32_t sum = -1;
        product.pack({.x = x.data(),
                      .ldx = 64,
                      .m = 1,
                      .total_m = 1,
                      .k = 64,
                      .format = format,
                      .packed = packed.data(),
                      .scale = &scale,
                      .sum = &sum});
        for (const std::byte code : packed) ASSERT_EQ(code, std::byte{0}) << table->isa << ", " << value;
        ASSERT_EQ(sum, 0);
        if (std::isfinite(value)) {
          ASSERT_GE(scale, 0.0F);
          ASSERT_LT(scale, 1e-30F);
        } else {
          ASSERT_TRUE(std::isnan(scale)) << value;
        }
      }
    }
  }
}

// No code expresses an infinity or a NaN: the row's scale says so, its neighbours keep their bits.
TEST(Product, ARowWithAnInfinityOrANaNComesOutAsNaN) {
  constexpr int64_t kK = 100, kM = 9, kN = 40;
  for (const KernelTable* table : runnable_tables()) {
    for (const Format format : kIntegerFormats) {
      for (const float bad : {kInfinity, -kInfinity, kNaN}) {
        SCOPED_TRACE(testing::Message() << table->isa << ", " << to_string(format) << ", " << bad);
        const Case c{.format = format, .integers = true, .m = kM, .n = kN, .k = kK};
        Trial trial(c, 7), spoilt(c, 7);
        spoilt.spoil(3, 70, bad);
        trial.whole(*table);
        spoilt.whole(*table);
        for (int64_t i = 0; i < kM; ++i) {
          for (int64_t j = 0; j < kN; ++j) {
            if (spoilt.reads(i, 3)) {
              ASSERT_TRUE(std::isnan(spoilt.at(i, j))) << i << ", " << j;
            } else {
              ASSERT_EQ(spoilt.at(i, j), trial.at(i, j)) << i << ", " << j;
            }
          }
        }
      }
    }
  }
}

// Random shapes against the reference row, or against double where that has no such product, with unreadable memory
// right behind the weight.
TEST(Product, FuzzedShapesAgree) {
  TestRandom random(99);
  const KernelTable& ref = *runnable_tables().front();
  for (const KernelTable* table : runnable_tables()) {
    if (table == &ref) continue;
    const std::vector<Case> all = cases(*table);
    for (uint32_t trial_number = 0; trial_number < 1500; ++trial_number) {
      Case c = all[static_cast<size_t>(random.below(static_cast<int64_t>(all.size())))];
      c.m = 1 + random.below(random.below(4) == 0 ? 70 : 8);
      c.n = 1 + random.below(70);
      c.k = 1 + random.below(random.below(4) == 0 ? 1200 : 200);
      c.first_n = random.below(5);
      SCOPED_TRACE(testing::Message() << table->isa << ": " << c);
      Trial trial(c, trial_number);
      trial.whole(*table);
      trial.expect_guards_untouched();
      if (c.integers) {
        const std::vector<float> found = trial.result();
        ASSERT_EQ(trial.whole(ref), found);
        continue;
      }
      for (int draw = 0; draw < 4; ++draw) {
        const int64_t i = random.below(c.m), j = random.below(c.n);
        const auto [exact, magnitude] = trial.exact(i, j);
        ASSERT_NEAR(trial.at(i, j), exact, static_cast<double>(c.k + 8) * kRounding * magnitude);
      }
    }
  }
}

}  // namespace
}  // namespace hadal::kernels
