#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "hadal/core/dtype.h"
#include "hadal/core/test_random.h"
#include "hadal/kernels/kernel_table.h"

namespace hadal::kernels {
namespace {

constexpr auto kGuard = std::byte{0x5a};

struct Stored {
  std::vector<std::byte> codes;
  float scale;
};

Stored stored(const KernelTable& table, const std::vector<float>& x) {
  Stored out{std::vector<std::byte>(x.size() + 1, kGuard), 0.0F};
  out.scale = table.store_f8(x.data(), static_cast<int64_t>(x.size()), out.codes.data());
  EXPECT_EQ(out.codes.back(), kGuard);
  out.codes.pop_back();
  return out;
}

f8e4m3 code_at(const Stored& row, size_t i) {
  return {static_cast<uint8_t>(row.codes[i])};
}

// The smallest power of two that brings x to 448 or below, by trying them.
float expected_scale(float largest) {
  float scale = 0x1p-117F;
  while (largest / scale > 448.0F) scale *= 2.0F;
  return scale;
}

TEST(StoreF8, RoundsToCodesUnderTheSmallestPowerOfTwo) {
  for (const KernelTable* table : runnable_tables()) {
    for (const int64_t n : {1, 7, 15, 16, 17, 64, 512, 1000}) {
      for (const float size : {1e-20F, 0.01F, 1.0F, 448.0F, 449.0F, 1e10F}) {
        const auto x = TestRandom(static_cast<uint32_t>(n)).uniform_vector(n, -size, size);
        float largest = 0.0F;
        for (const float value : x) largest = std::max(largest, std::fabs(value));
        const Stored row = stored(*table, x);
        ASSERT_EQ(row.scale, expected_scale(largest)) << table->isa << " " << n << " of " << size;
        for (size_t i = 0; i < x.size(); ++i)
          ASSERT_EQ(code_at(row, i).bits, to_f8e4m3(x[i] / row.scale).bits) << table->isa << " " << x[i];
      }
    }
  }
}

TEST(StoreF8, TakesTheBordersExactly) {
  for (const KernelTable* table : runnable_tables()) {
    EXPECT_EQ(stored(*table, {448.0F}).scale, 1.0F);
    EXPECT_EQ(stored(*table, {std::nextafter(448.0F, 500.0F)}).scale, 2.0F);
    EXPECT_EQ(stored(*table, {-224.0F}).scale, 0.5F);
    EXPECT_EQ(stored(*table, {0.0F, -0.0F}).scale, 0x1p-117F);
    EXPECT_EQ(stored(*table, {0x1p-149F}).scale, 0x1p-117F);
    // Half of the smallest code's value goes to zero (even), what is above it to the code.
    const Stored row = stored(*table, {448.0F, 0x1p-10F, std::nextafter(0x1p-10F, 1.0F), -0x1.8p-9F});
    EXPECT_EQ(code_at(row, 1).bits, 0);
    EXPECT_EQ(code_at(row, 2).bits, 1);
    EXPECT_EQ(code_at(row, 3).bits, 0x82);
  }
}

TEST(StoreF8, WhatIsNotFiniteMakesTheWholeRowNaN) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const KernelTable* table : runnable_tables()) {
    for (const float bad : {kInfinity, -kInfinity, std::nanf(""), -std::nanf("")}) {
      for (const size_t at : {0U, 16U, 19U}) {
        std::vector<float> x(20, 1.0F);
        x[at] = bad;
        const Stored row = stored(*table, x);
        EXPECT_TRUE(std::isnan(row.scale));
        std::vector<bf16> numbers(x.size());
        table->f8_to_bf16(row.codes.data(), 20, row.scale, reinterpret_cast<std::byte*>(numbers.data()));
        for (const bf16 number : numbers) EXPECT_TRUE(std::isnan(to_float(number)));
      }
    }
  }
}

// Every code under the smallest factor, the largest and some between: a product that BF16 holds exactly.
TEST(F8ToBf16, IsExact) {
  std::vector<std::byte> codes;
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7f) != 0x7f) codes.push_back(static_cast<std::byte>(code));
  }
  for (const KernelTable* table : runnable_tables()) {
    for (const float scale : {0x1p-117F, 0x1p-9F, 1.0F, 0x1p5F, 0x1p119F}) {
      for (const size_t n : {size_t{1}, size_t{63}, codes.size()}) {
        std::vector<bf16> numbers(n + 1, bf16{0x5a5a});
        table->f8_to_bf16(codes.data(), static_cast<int64_t>(n), scale,
                          reinterpret_cast<std::byte*>(numbers.data()));
        for (size_t i = 0; i < n; ++i) {
          const float exact = to_float(f8e4m3{static_cast<uint8_t>(codes[i])}) * scale;
          ASSERT_EQ(std::bit_cast<uint32_t>(to_float(numbers[i])), std::bit_cast<uint32_t>(exact))
              << table->isa << " " << static_cast<int>(codes[i]);
        }
        EXPECT_EQ(numbers.back().bits, 0x5a5a);
      }
    }
  }
}

TEST(Expand, OfF8IsExactForAllCodes) {
  std::vector<std::byte> codes;
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7f) != 0x7f) codes.push_back(static_cast<std::byte>(code));
  }
  for (const KernelTable* table : runnable_tables()) {
    std::vector<float> values(codes.size() + 1, 12345.0F);
    table->expand[index_of(Format::kF8E4M3)](codes.data(), static_cast<int64_t>(codes.size()), values.data());
    for (size_t i = 0; i < codes.size(); ++i) {
      const float exact = to_float(f8e4m3{static_cast<uint8_t>(codes[i])});
      ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), std::bit_cast<uint32_t>(exact)) << table->isa;
    }
    EXPECT_EQ(values.back(), 12345.0F);
  }
}

}  // namespace
}  // namespace hadal::kernels
