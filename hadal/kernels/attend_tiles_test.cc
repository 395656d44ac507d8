#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "hadal/core/dtype.h"
#include "hadal/core/test_random.h"
#include "hadal/core/view.h"
#include "hadal/kernels/kernel_table.h"

namespace hadal::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kGuard = 12345.0F;

struct Shape {
  int64_t lanes = 1, key_dim = 32, value_dim = 16;
  std::vector<int64_t> chunks;  // keys in each
};

const Shape kShapes[] = {{1, 32, 16, {1}},      {16, 576, 512, {100}},     {16, 192, 128, {512, 70}},
                         {3, 64, 80, {17, 16}}, {5, 96, 64, {33, 512, 2}}, {16, 32, 48, {64, 63, 65}},
                         {9, 320, 256, {31}}};

std::vector<bf16> rounded(const std::vector<float>& x) {
  std::vector<bf16> codes;
  for (const float value : x) codes.push_back(to_bf16(value));
  return codes;
}

// Lanes against the keys of some chunks, all of them BF16 numbers.
class TileAttention {
 public:
  explicit TileAttention(const Shape& shape) : shape_(shape) {
    for (const int64_t chunk : shape.chunks) num_keys_ += chunk;
    TestRandom random(1);
    q_ = random.uniform_vector(shape.lanes * shape.key_dim, -1.0F, 1.0F);
    // Sixteen more rows than there are: a tile of keys is read whole.
    k_ = rounded(random.uniform_vector((num_keys_ + 16) * shape.key_dim, -1.0F, 1.0F));
    v_ = rounded(random.uniform_vector(num_keys_ * shape.value_dim, -1.0F, 1.0F));
    for (int64_t i = 0; i < shape.lanes; ++i) visible.push_back(num_keys_ - i % 3 * (num_keys_ / 3));
    reset();
  }
  void reset() {
    max.assign(static_cast<size_t>(shape_.lanes), -kInfinity);
    sum.assign(static_cast<size_t>(shape_.lanes), 0.0F);
    out = Tensor<float, 2>({shape_.lanes, shape_.value_dim + 2});
    for (int64_t i = 0; i < shape_.lanes; ++i) {
      for (int64_t d = 0; d < 2; ++d) out.view()[i][shape_.value_dim + d] = kGuard;
    }
  }

  void run(const KernelTable& table, int64_t first, int64_t count) {
    const Product& product = table.bf16[index_of(Format::kBF16)];
    std::vector<std::byte> packed(
        static_cast<size_t>(packed_rows(count) * product.row_bytes(shape_.key_dim)));
    product.pack({.x = q_.data() + first * shape_.key_dim,
                  .ldx = shape_.key_dim,
                  .m = count,
                  .total_m = count,
                  .k = shape_.key_dim,
                  .packed = packed.data()});
    int64_t key = 0;
    for (const int64_t chunk : shape_.chunks) {
      std::vector<const std::byte*> tiles;
      for (int64_t j = 0; j < chunk; j += 16) tiles.push_back(bytes(k_, (key + j) * shape_.key_dim));
      const std::vector<std::byte> pairs = pair_up(table, key, chunk);
      std::vector<int64_t> seen;
      for (int64_t i = first; i < first + count; ++i)
        seen.push_back(std::clamp<int64_t>(visible[static_cast<size_t>(i)] - key, 0, chunk));
      table.attend_tiles({.q = packed.data(),
                          .lanes = count,
                          .key_tiles = tiles.data(),
                          .ldk = 2 * shape_.key_dim,
                          .value_pairs = pairs.data(),
                          .key_dim = shape_.key_dim,
                          .value_dim = shape_.value_dim,
                          .visible = seen.data(),
                          .scale = 0.2F,
                          .max = &max[static_cast<size_t>(first)],
                          .sum = &sum[static_cast<size_t>(first)],
                          .out = out.view()[first].data,
                          .ldo = out.shape()[1]});
      key += chunk;
    }
  }
  void run(const KernelTable& table) { run(table, 0, shape_.lanes); }

  // Softmax over all visible keys at once, in double, of the rounded numbers.
  std::vector<double> exact(int64_t lane) const {
    const int64_t keys = visible[static_cast<size_t>(lane)];
    std::vector<double> score(static_cast<size_t>(keys)), values(static_cast<size_t>(shape_.value_dim));
    double largest = -INFINITY, total = 0.0;
    for (int64_t j = 0; j < keys; ++j) {
      double dot = 0.0;
      for (int64_t d = 0; d < shape_.key_dim; ++d)
        dot += double{round_to_bf16(q_[static_cast<size_t>(lane * shape_.key_dim + d)])} *
               to_float(k_[static_cast<size_t>(j * shape_.key_dim + d)]);
      score[static_cast<size_t>(j)] = dot * 0.2;
      largest = std::max(largest, dot * 0.2);
    }
    for (int64_t j = 0; j < keys; ++j) {
      const double p = std::exp(score[static_cast<size_t>(j)] - largest);
      total += p;
      for (int64_t d = 0; d < shape_.value_dim; ++d)
        values[static_cast<size_t>(d)] += p * to_float(v_[static_cast<size_t>(j * shape_.value_dim + d)]);
    }
    for (double& value : values) value /= total;
    return values;
  }

  std::vector<float> max, sum;
  Tensor<float, 2> out;
  std::vector<int64_t> visible;

 private:
  static const std::byte* bytes(const std::vector<bf16>& codes, int64_t at) {
    return reinterpret_cast<const std::byte*>(codes.data() + at);
  }
  std::vector<std::byte> pair_up(const KernelTable& table, int64_t key, int64_t chunk) const {
    const int64_t padded = (chunk + 31) / 32 * 32, row = 4 * shape_.value_dim;
    std::vector<std::byte> pairs(static_cast<size_t>(padded / 2 * row));
    for (int64_t j = 0; j < chunk; j += 2) {
      const std::byte* second = j + 1 < chunk ? bytes(v_, (key + j + 1) * shape_.value_dim) : nullptr;
      table.pair_rows(bytes(v_, (key + j) * shape_.value_dim), second, shape_.value_dim,
                      &pairs[static_cast<size_t>(j / 2 * row)]);
    }
    return pairs;
  }

  Shape shape_;
  int64_t num_keys_ = 0;
  std::vector<float> q_;
  std::vector<bf16> k_, v_;
};

template <class Check>
void for_each(const Check& check) {
  for (const KernelTable* table : runnable_tables()) {
    if (table->attend_tiles == nullptr) continue;
    for (const Shape& shape : kShapes) {
      SCOPED_TRACE(testing::Message() << table->isa << ", " << shape.lanes << " lanes, " << shape.key_dim
                                      << " to " << shape.value_dim);
      TileAttention attention(shape);
      check(*table, shape, attention);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(AttendTiles, IsASoftmaxMergedOverChunks) {
  // A probability is rounded to BF16, 2^-9 relative; outputs are averages of numbers below 1. FP32's part is far below.
  constexpr double kTolerance = 0x1p-9 + 1e-5;
  for_each([&](const KernelTable& table, const Shape& shape, TileAttention& attention) {
    attention.run(table);
    for (int64_t i = 0; i < shape.lanes; ++i) {
      const std::vector<double> expected = attention.exact(i);
      for (int64_t d = 0; d < shape.value_dim; ++d) {
        const double found = double{attention.out.view()[i][d]} / attention.sum[static_cast<size_t>(i)];
        ASSERT_NEAR(found, expected[static_cast<size_t>(d)], kTolerance) << "lane " << i << ", " << d;
      }
      ASSERT_EQ(attention.out.view()[i][shape.value_dim], kGuard);
    }
  });
}

TEST(AttendTiles, LanesAloneHaveTheBitsOfABatch) {
  for_each([](const KernelTable& table, const Shape& shape, TileAttention& attention) {
    attention.run(table);
    const auto max = attention.max, sum = attention.sum, out = attention.out.values();
    for (const int64_t part : {1, 3}) {
      attention.reset();
      for (int64_t i = 0; i < shape.lanes; i += part)
        attention.run(table, i, std::min(part, shape.lanes - i));
      ASSERT_EQ(attention.out.values(), out) << part << " at a time";
      ASSERT_EQ(attention.max, max);
      ASSERT_EQ(attention.sum, sum);
    }
  });
}

TEST(AttendTiles, NothingVisibleChangesNothing) {
  for_each([](const KernelTable& table, const Shape& shape, TileAttention& attention) {
    attention.run(table);
    const auto max = attention.max, sum = attention.sum, out = attention.out.values();
    const int64_t last = shape.lanes - 1;
    attention.visible.assign(static_cast<size_t>(shape.lanes), 0);
    attention.run(table);
    ASSERT_EQ(attention.out.values(), out);
    attention.visible[0] = 1;  // and a lane beside one that sees something
    attention.run(table);
    for (int64_t i = 1; i <= last; ++i) {
      ASSERT_EQ(attention.max[static_cast<size_t>(i)], max[static_cast<size_t>(i)]);
      ASSERT_EQ(attention.sum[static_cast<size_t>(i)], sum[static_cast<size_t>(i)]);
      ASSERT_EQ(attention.out.view()[i][0], out[static_cast<size_t>(i * (shape.value_dim + 2))]);
    }
  });
}

TEST(PairRows, InterleavesTwoRows) {
  for (const KernelTable* table : runnable_tables()) {
    if (table->pair_rows == nullptr) continue;
    TestRandom random(2);
    const std::vector<float> a = random.uniform_vector(48, -1.0F, 1.0F),
                             b = random.uniform_vector(48, -1.0F, 1.0F);
    const std::vector<bf16> low = rounded(a), high = rounded(b);
    const auto* low_bytes = reinterpret_cast<const std::byte*>(low.data());
    const auto* high_bytes = reinterpret_cast<const std::byte*>(high.data());
    std::vector<bf16> rows(96), floats(96), alone(96);
    const auto bytes = [](std::vector<bf16>& codes) { return reinterpret_cast<std::byte*>(codes.data()); };
    table->pair_rows(low_bytes, high_bytes, 48, bytes(rows));
    table->pair_floats(a.data(), b.data(), 48, bytes(floats));
    table->pair_rows(low_bytes, nullptr, 48, bytes(alone));
    for (size_t d = 0; d < 48; ++d) {
      ASSERT_EQ(rows[2 * d].bits, low[d].bits);
      ASSERT_EQ(rows[2 * d + 1].bits, high[d].bits);
      ASSERT_EQ(floats[2 * d].bits, low[d].bits);
      ASSERT_EQ(floats[2 * d + 1].bits, high[d].bits);
      ASSERT_EQ(alone[2 * d].bits, low[d].bits);
      ASSERT_EQ(alone[2 * d + 1].bits, 0);
    }
  }
}

TEST(StoreBf16, RoundsToNearestEven) {
  for (const KernelTable* table : runnable_tables()) {
    TestRandom random(3);
    std::vector<float> x = random.uniform_vector(77, -1.0F, 1.0F);
    const float special[] = {0.0F, -0.0F, kInfinity, 1e-40F, 1.00390625F, 1.01171875F, 3.4e38F};
    std::copy(std::begin(special), std::end(special), x.begin());
    std::vector<bf16> codes(78, bf16{0x1234});
    table->store_bf16(x.data(), 77, reinterpret_cast<std::byte*>(codes.data()));
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_EQ(codes[i].bits, to_bf16(x[i]).bits) << table->isa << ", " << x[i];
    ASSERT_EQ(codes.back().bits, 0x1234);
  }
}

}  // namespace
}  // namespace hadal::kernels
