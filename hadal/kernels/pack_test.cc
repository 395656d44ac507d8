#include "hadal/kernels/pack.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "hadal/core/test_formats.h"
#include "hadal/core/test_random.h"

namespace hadal::kernels {
namespace {

constexpr float kGuard = 12345.0F;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Cut {
  int64_t k, block;
};
constexpr Cut kCuts[] = {{1, 512},   {7, 512}, {8, 512}, {9, 512}, {512, 512}, {513, 512}, {40, 40},
                         {1000, 96}, {13, 5},  {16, 8},  {3, 1},   {128, 128}, {300, 128}};

std::vector<float> guarded(const Cut& cut) {
  return std::vector<float>(static_cast<size_t>(packed_width(cut.k, cut.block)) + 1, kGuard);
}

// Where element k of a row is in the packed row, or everything that is no element's place.
size_t place(int64_t k, int64_t block) {
  return static_cast<size_t>(k / block * padded(block) + k % block);
}

// The elements are where they belong, with these values; zeros fill each block to a multiple of kLanes; no more.
template <class Expected>
void expect_packed(const std::vector<float>& packed, const Cut& cut, const Expected& expected) {
  std::vector<float> wanted(packed.size(), 0.0F);
  for (int64_t k = 0; k < cut.k; ++k) wanted[place(k, cut.block)] = expected(k);
  wanted.back() = kGuard;
  ASSERT_EQ(packed, wanted) << cut.k << " in blocks of " << cut.block;
}

TEST(PackedWidth, CountsPaddedBlocks) {
  EXPECT_EQ(packed_width(1, 512), 8);
  EXPECT_EQ(packed_width(512, 512), 512);
  EXPECT_EQ(packed_width(513, 512), 520);
  EXPECT_EQ(packed_width(10, 5), 16);
  EXPECT_EQ(packed_width(11, 5), 24);
  EXPECT_EQ(packed_width(96 + 1, 96), 104);
  EXPECT_EQ(num_blocks(1, 128), 1);
  EXPECT_EQ(num_blocks(128, 128), 1);
  EXPECT_EQ(num_blocks(129, 128), 2);
}

TEST(KBlock, IsWhereAWeightsScaleChanges) {
  const float scale = 1.0F;
  Weight w{.name = "w", .block_rows = 3, .block_cols = 40};
  EXPECT_EQ(k_block(w), kPlainBlock);
  w.scale = &scale;
  EXPECT_EQ(k_block(w), 40);
}

TEST(Pack, F32CopiesBlockByBlock) {
  for (const KernelTable* table : runnable_tables()) {
    for (const Cut& cut : kCuts) {
      const auto x = TestRandom(1).uniform_vector(cut.k, -1.0F, 1.0F);
      auto packed = guarded(cut);
      table->pack_f32(x.data(), cut.k, cut.block, packed.data());
      expect_packed(packed, cut, [&](int64_t k) { return x[static_cast<size_t>(k)]; });
    }
  }
}

TEST(Pack, Bf16Rounds) {
  for (const KernelTable* table : runnable_tables()) {
    for (const Cut& cut : kCuts) {
      const auto x = TestRandom(2).uniform_vector(cut.k, -1.0F, 1.0F);
      auto packed = guarded(cut);
      table->pack_bf16(x.data(), cut.k, cut.block, packed.data());
      expect_packed(packed, cut, [&](int64_t k) { return round_to_bf16(x[static_cast<size_t>(k)]); });
    }
  }
}

// Ties, infinities and the overflow to infinity, eight of each so that no row treats them in a tail only.
TEST(StoreBf16, RoundsToNearestEven) {
  std::vector<float> x = {1.0F,       0x1.01p0F,       0x1.03p0F, 0x1.010002p0F,
                          -0x1.01p0F, 0x1.fffffep127F, kInfinity, -kInfinity};
  const auto random = TestRandom(5).uniform_vector(77, -3.0F, 3.0F);
  x.insert(x.end(), random.begin(), random.end());
  for (const KernelTable* table : runnable_tables()) {
    for (const size_t n : {size_t{1}, size_t{7}, size_t{8}, size_t{16}, x.size()}) {
      std::vector<bf16> codes(n + 1, bf16{0x1234});
      table->store_bf16(x.data(), static_cast<int64_t>(n), reinterpret_cast<std::byte*>(codes.data()));
      for (size_t i = 0; i < n; ++i)
        ASSERT_EQ(codes[i].bits, to_bf16(x[i]).bits) << table->isa << ' ' << x[i];
      ASSERT_EQ(codes[n].bits, 0x1234);
    }
  }
}

float largest_of_block(const std::vector<float>& x, int64_t begin, int64_t block) {
  float largest = 0.0F;
  for (int64_t i = begin; i < std::min(begin + block, static_cast<int64_t>(x.size())); ++i)
    largest = std::max(largest, std::fabs(x[static_cast<size_t>(i)]));
  return largest;
}

// The smallest power of two that is not below s.
float power_of_two_from(float s) {
  float power = 0x1p-100F;
  while (power < s) power *= 2.0F;
  return power;
}

void expect_quantised(const KernelTable& table, const std::vector<float>& x, const Cut& cut, bool ue8m0) {
  auto packed = guarded(cut);
  std::vector<float> scale(static_cast<size_t>(num_blocks(cut.k, cut.block)) + 1, kGuard);
  table.pack_f8(x.data(), cut.k, cut.block, ue8m0, packed.data(), scale.data());
  for (int64_t b = 0; b < num_blocks(cut.k, cut.block); ++b) {
    const float largest = std::max(largest_of_block(x, b * cut.block, cut.block), 1e-4F);
    const float expected = ue8m0 ? power_of_two_from(largest / 448.0F) : largest / 448.0F;
    ASSERT_EQ(scale[static_cast<size_t>(b)], expected) << "largest " << largest;
  }
  ASSERT_EQ(scale.back(), kGuard);
  expect_packed(packed, cut, [&](int64_t k) {
    const float quotient = x[static_cast<size_t>(k)] / scale[static_cast<size_t>(k / cut.block)];
    return static_cast<float>(exact_value(nearest_f8e4m3(quotient)));
  });
}

TEST(PackF8, ScalesByTheLargestAndRoundsToTheNearestCode) {
  for (const KernelTable* table : runnable_tables()) {
    for (const Cut& cut : kCuts) {
      for (const float size : {1e-3F, 1.0F, 1e4F}) {
        const auto x = TestRandom(3).uniform_vector(cut.k, -size, size);
        expect_quantised(*table, x, cut, false);
        expect_quantised(*table, x, cut, true);
      }
    }
  }
}

// All-zero groups, and groups too small to be worth a scale, have the scale of 1e-4.
TEST(PackF8, ClampsTinyBlocks) {
  for (const KernelTable* table : runnable_tables()) {
    for (const float value : {0.0F, 1e-30F, 9e-5F}) {
      const std::vector<float> x(20, value);
      expect_quantised(*table, x, {20, 8}, false);
      expect_quantised(*table, x, {20, 8}, true);
      std::vector<float> packed(24), scale(3);
      table->pack_f8(x.data(), 20, 8, false, packed.data(), scale.data());
      EXPECT_EQ(scale, std::vector<float>(3, 1e-4F / 448.0F));
    }
  }
}

// Just at a power of two and one unit above it: where a rounded logarithm would choose the wrong scale.
TEST(PackF8, PowerOfTwoScalesAreExactAtTheirBorders) {
  for (const KernelTable* table : runnable_tables()) {
    for (int exponent = -20; exponent <= 20; ++exponent) {
      const float at = std::ldexp(448.0F, exponent);
      for (const float largest : {std::nextafter(at, 0.0F), at, std::nextafter(at, 2 * at)}) {
        expect_quantised(*table, {largest, -largest / 3, 0.0F}, {3, 8}, true);
      }
    }
  }
}

// What went wrong before stays visible: neither infinity nor NaN becomes a number.
TEST(PackF8, KeepsInfinityAndNaNVisible) {
  for (const KernelTable* table : runnable_tables()) {
    for (const bool ue8m0 : {false, true}) {
      for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
        const std::vector<float> x = {1.0F, bad, -2.0F};
        std::vector<float> packed(8), scale(1);
        table->pack_f8(x.data(), 3, 8, ue8m0, packed.data(), scale.data());
        EXPECT_TRUE(std::isnan(packed[1])) << bad;
      }
    }
  }
}

TEST(Expand, GivesEveryCodeItsValue) {
  for (const KernelTable* table : runnable_tables()) {
    std::vector<f8e4m3> f8;
    for (int code = 0; code < 256; ++code) {
      if ((code & 0x7f) != 0x7f) f8.push_back({static_cast<uint8_t>(code)});
    }
    std::vector<bf16> bf;
    std::vector<f16> half;
    for (uint32_t code = 0; code < 0x10000U; ++code) {
      if ((code & 0x7f80U) != 0x7f80U) bf.push_back({static_cast<uint16_t>(code)});
      if ((code & 0x7c00U) != 0x7c00U) half.push_back({static_cast<uint16_t>(code)});
    }
    const auto expect_values = [&](Format format, const auto& codes) {
      std::vector<float> out(codes.size() + 1, kGuard);
      table->expand[index_of(format)](reinterpret_cast<const std::byte*>(codes.data()),
                                      static_cast<int64_t>(codes.size()), out.data());
      for (size_t i = 0; i < codes.size(); ++i) {
        ASSERT_EQ(double{out[i]}, exact_value(codes[i])) << to_string(format) << ' ' << int{codes[i].bits};
        ASSERT_EQ(std::signbit(out[i]), std::signbit(exact_value(codes[i])));
      }
      ASSERT_EQ(out.back(), kGuard);
    };
    expect_values(Format::kF8E4M3, f8);
    expect_values(Format::kBF16, bf);
    expect_values(Format::kF16, half);
  }
}

TEST(Expand, CopiesF32AndKeepsToItsLength) {
  for (const KernelTable* table : runnable_tables()) {
    for (const Format format : {Format::kF32, Format::kBF16, Format::kF16, Format::kF8E4M3}) {
      const auto x = TestRandom(4).uniform_vector(64, -1.0F, 1.0F);
      for (const int64_t n : {0, 1, 5, 8, 17}) {
        std::vector<float> out(20, kGuard);
        table->expand[index_of(format)](reinterpret_cast<const std::byte*>(x.data()), n, out.data());
        for (int64_t i = n; i < 20; ++i) ASSERT_EQ(out[static_cast<size_t>(i)], kGuard);
        if (format != Format::kF32) continue;
        for (int64_t i = 0; i < n; ++i) ASSERT_EQ(out[static_cast<size_t>(i)], x[static_cast<size_t>(i)]);
      }
    }
  }
}

}  // namespace
}  // namespace hadal::kernels
