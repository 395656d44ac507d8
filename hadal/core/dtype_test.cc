#include "hadal/core/dtype.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "hadal/core/test_formats.h"
#include "hadal/core/test_random.h"

namespace hadal {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

float from_bits(uint32_t bits) {
  return std::bit_cast<float>(bits);
}

uint16_t bf16_bits(float x) {
  return to_bf16(x).bits;
}

TEST(Bf16, EveryCodeMeansWhatTheFormatSaysAndComesBack) {
  for (uint32_t code = 0; code < 0x10000U; ++code) {
    const bf16 x{static_cast<uint16_t>(code)};
    const uint32_t magnitude = code & 0x7fffU;
    if (magnitude > 0x7f80U) {
      EXPECT_TRUE(std::isnan(to_float(x))) << code;
      EXPECT_TRUE(std::isnan(round_to_bf16(to_float(x)))) << code;
      EXPECT_EQ(std::signbit(round_to_bf16(to_float(x))), code >= 0x8000U) << code;
      continue;
    }
    EXPECT_EQ(bf16_bits(to_float(x)), code);
    if (magnitude == 0x7f80U) {
      EXPECT_EQ(to_float(x), code < 0x8000U ? kInfinity : -kInfinity);
    } else {
      EXPECT_EQ(double{to_float(x)}, exact_value(x)) << code;
      EXPECT_EQ(std::signbit(to_float(x)), code >= 0x8000U) << code;
    }
  }
}

// Between any two neighbours: the middle goes to the even code, the floats on either side of it to the nearer one. The
// last pair is the largest finite code and infinity.
TEST(Bf16, RoundsToNearestEven) {
  for (uint32_t code = 0; code < 0x7f80U; ++code) {
    const uint32_t even = code % 2 == 0 ? code : code + 1;
    for (const uint32_t sign : {0U, 0x8000U}) {
      const uint32_t middle = (code | sign) << 16 | 0x8000U;
      ASSERT_EQ(bf16_bits(from_bits(middle)), even | sign) << code;
      ASSERT_EQ(bf16_bits(from_bits(middle - 1)), code | sign) << code;
      ASSERT_EQ(bf16_bits(from_bits(middle + 1)), (code + 1) | sign) << code;
    }
  }
}

TEST(Bf16, KeepsInfinityAndNaN) {
  EXPECT_EQ(bf16_bits(kInfinity), 0x7f80U);
  EXPECT_EQ(bf16_bits(-kInfinity), 0xff80U);
  EXPECT_EQ(bf16_bits(std::numeric_limits<float>::max()), 0x7f80U);
  // A NaN whose payload lies in the half that is dropped, and one that a carry would turn into zero.
  for (const uint32_t bits : {0x7f800001U, 0x7fffffffU, 0xff800001U, 0xffffffffU}) {
    EXPECT_TRUE(std::isnan(round_to_bf16(from_bits(bits)))) << std::hex << bits;
  }
}

TEST(F8E4M3, EveryCodeMeansWhatTheFormatSays) {
  for (uint32_t code = 0; code < 256; ++code) {
    const f8e4m3 x{static_cast<uint8_t>(code)};
    EXPECT_EQ(std::signbit(to_float(x)), code >= 128) << code;
    if ((code & 0x7fU) == 0x7fU) {
      EXPECT_TRUE(std::isnan(to_float(x))) << code;
    } else {
      EXPECT_EQ(double{to_float(x)}, exact_value(x)) << code;
      EXPECT_EQ(to_f8e4m3(to_float(x)).bits, code);
    }
  }
  EXPECT_EQ(to_float(f8e4m3{0x7e}), 448.0F);
  EXPECT_EQ(to_float(f8e4m3{0x01}), 0x1p-9F);  // the smallest subnormal
  EXPECT_EQ(to_float(f8e4m3{0x08}), 0x1p-6F);  // the smallest normal number
}

TEST(ToF8E4M3, RoundsMiddlesToEven) {
  for (uint8_t code = 0; code < 0x7e; ++code) {
    const auto middle =
        static_cast<float>((exact_value(f8e4m3{code}) + exact_value(f8e4m3{uint8_t(code + 1)})) / 2);
    EXPECT_EQ(to_f8e4m3(middle).bits, code % 2 == 0 ? code : code + 1);
    EXPECT_EQ(to_f8e4m3(std::nextafter(middle, 0.0F)).bits, code);
    EXPECT_EQ(to_f8e4m3(std::nextafter(middle, kInfinity)).bits, code + 1);
    EXPECT_EQ(to_f8e4m3(-middle).bits, (code % 2 == 0 ? code : code + 1) | 0x80);
  }
}

TEST(ToF8E4M3, IsTheNearestCode) {
  TestRandom random(1);
  for (int i = 0; i < 50'000; ++i) {
    // All binades from far below the smallest subnormal to beyond the largest value.
    const float magnitude = std::ldexp(random.uniform(1.0F, 2.0F), static_cast<int>(random.below(24)) - 14);
    const float x = random.below(2) == 0 ? magnitude : -magnitude;
    ASSERT_EQ(to_f8e4m3(x).bits, nearest_f8e4m3(x).bits) << x;
  }
}

TEST(ToF8E4M3, SaturatesAndKeepsNaN) {
  for (const float x : {448.0F, 448.1F, 464.0F, 480.0F, 512.0F, 1e30F, kInfinity}) {
    EXPECT_EQ(to_f8e4m3(x).bits, 0x7e) << x;
    EXPECT_EQ(to_f8e4m3(-x).bits, 0xfe) << x;
  }
  EXPECT_EQ(to_f8e4m3(0.0F).bits, 0);
  EXPECT_EQ(to_f8e4m3(-0.0F).bits, 0x80);
  EXPECT_EQ(to_f8e4m3(0x1p-149F).bits, 0);
  EXPECT_TRUE(std::isnan(to_float(to_f8e4m3(kNaN))));
  EXPECT_TRUE(std::isnan(to_float(to_f8e4m3(-kNaN))));
}

TEST(F16, EveryCodeMeansWhatTheFormatSays) {
  for (uint32_t code = 0; code < 0x10000U; ++code) {
    const f16 x{static_cast<uint16_t>(code)};
    const uint32_t magnitude = code & 0x7fffU;
    EXPECT_EQ(std::signbit(to_float(x)), code >= 0x8000U) << code;
    if (magnitude > 0x7c00U) {
      EXPECT_TRUE(std::isnan(to_float(x))) << code;
    } else if (magnitude == 0x7c00U) {
      EXPECT_EQ(std::fabs(to_float(x)), kInfinity);
    } else {
      EXPECT_EQ(double{to_float(x)}, exact_value(x)) << code;
    }
  }
}

}  // namespace
}  // namespace hadal
