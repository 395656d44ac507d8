#include "hadal/core/rng.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

using Words = std::array<uint32_t, 4>;

// The known answers of the Random123 distribution (kat_vectors: philox4x32 10).
TEST(Philox, MatchesRandom123) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(UniformAt, IsTheUpper24BitsOfTheFirstWord) {
  EXPECT_EQ(uniform_at(0, 0), static_cast<float>(0x6627e8) / 0x1p24F);
  // Seed and position go in as 64 bits each, low word first.
  const Words words = philox4x32({0x89abcdef, 0x01234567, 0, 0}, {0x76543210, 0xfedcba98});
  EXPECT_EQ(uniform_at(0xfedcba9876543210, 0x0123456789abcdef), static_cast<float>(words[0] >> 8) / 0x1p24F);
}

TEST(UniformAt, DependsOnEveryBitOfSeedAndPosition) {
  std::set<float> seen = {uniform_at(0, 0)};
  for (int bit = 0; bit < 64; ++bit) {
    seen.insert(uniform_at(uint64_t{1} << bit, 0));
    seen.insert(uniform_at(0, uint64_t{1} << bit));
  }
  // 129 draws of 2^24 values: two of them are equal with a probability of 1 in 2000, and these are not.
  EXPECT_EQ(seen.size(), 129U);
}

double chi_square(const std::vector<int64_t>& counts, double expected) {
  double sum = 0.0;
  for (const int64_t count : counts) {
    const double difference = static_cast<double>(count) - expected;
    sum += difference * difference / expected;
  }
  return sum;
}

// 99 degrees of freedom: mean 99, standard deviation 14. A uniform source stays below 180 but for one in 10^6; the draws
// here are always the same.
constexpr double kChiSquareLimit = 180.0;

TEST(UniformAt, IsUniformOverPositionsAndOverSeeds) {
  constexpr int64_t kDraws = 100'000;
  std::vector<int64_t> by_position(100), by_seed(100);
  for (uint64_t i = 0; i < kDraws; ++i) {
    const float x = uniform_at(42, i), y = uniform_at(i, 42);
    ASSERT_GE(x, 0.0F);
    ASSERT_LT(x, 1.0F);
    ++by_position[static_cast<size_t>(x * 100.0F)];
    ++by_seed[static_cast<size_t>(y * 100.0F)];
  }
  EXPECT_LT(chi_square(by_position, kDraws / 100.0), kChiSquareLimit);
  EXPECT_LT(chi_square(by_seed, kDraws / 100.0), kChiSquareLimit);
}

TEST(UniformAt, NeighboursAreIndependent) {
  constexpr int64_t kDraws = 100'000;
  std::vector<int64_t> positions(100), seeds(100);
  for (uint64_t i = 0; i < kDraws; ++i) {
    const auto tenth = [](float x) { return static_cast<size_t>(x * 10.0F); };
    ++positions[10 * tenth(uniform_at(7, 2 * i)) + tenth(uniform_at(7, 2 * i + 1))];
    ++seeds[10 * tenth(uniform_at(2 * i, 7)) + tenth(uniform_at(2 * i + 1, 7))];
  }
  EXPECT_LT(chi_square(positions, kDraws / 100.0), kChiSquareLimit);
  EXPECT_LT(chi_square(seeds, kDraws / 100.0), kChiSquareLimit);
}

}  // namespace
}  // namespace hadal
