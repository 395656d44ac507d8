#include "hadal/core/arena.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"
#include "hadal/core/test_random.h"

namespace hadal {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

TEST(Arena, GivesViewsOfTheShapeAskedFor) {
  Arena arena;
  const auto frame = arena.frame();
  EXPECT_EQ(arena.vec<int32_t>(5).shape, (std::array<int64_t, 1>{5}));
  const Mat<float> mat = arena.mat<float>(3, 7);
  EXPECT_EQ(mat.shape, (std::array<int64_t, 2>{3, 7}));
  EXPECT_EQ(mat.stride, (std::array<int64_t, 2>{7, 1}));
  const Cube<double> cube = arena.cube<double>(2, 3, 5);
  EXPECT_EQ(cube.shape, (std::array<int64_t, 3>{2, 3, 5}));
  EXPECT_EQ(cube.stride, (std::array<int64_t, 3>{15, 5, 1}));
}

TEST(Arena, AlignsToCacheLines) {
  Arena arena;
  const auto frame = arena.frame();
  for (const int64_t n : {1, 2, 15, 16, 17, 63, 64, 65, 1'500'000}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.vec<float>(n).data) % 64, 0U) << n;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.vec<std::byte>(n).data) % 64, 0U) << n;
  }
}

TEST(Arena, NothingOverlaps) {
  Arena arena;
  const auto frame = arena.frame();
  TestRandom random(1);
  std::vector<Vec<int32_t>> given;
  for (int32_t i = 0; i < 300; ++i) {  // some 15 MB: several blocks, with a large one now and then
    const int64_t n = i % 100 == 99 ? 3 * kMiB / 2 : random.below(20'000);
    given.push_back(arena.vec<int32_t>(n));
    std::fill_n(given.back().data, n, i);
  }
  for (int32_t i = 0; i < 300; ++i) {
    const Vec<int32_t> mine = given[static_cast<size_t>(i)];
    EXPECT_EQ(std::count(mine.data, mine.data + mine.shape[0], i), mine.shape[0]);
  }
}

TEST(Arena, AFrameGivesBackWhatWasGivenSinceItsStart) {
  Arena arena;
  const auto outer = arena.frame();
  const float* kept = arena.vec<float>(100).data;
  float* first = nullptr;
  {
    const auto inner = arena.frame();
    first = arena.vec<float>(10).data;
    {
      const auto innermost = arena.frame();
      EXPECT_NE(arena.vec<float>(10).data, first);
    }
  }
  float* again = arena.vec<float>(10).data;
  EXPECT_EQ(again, first);
  EXPECT_NE(again, kept);
}

TEST(Arena, AFrameReturnsToAnEarlierBlock) {
  Arena arena;
  float* first = nullptr;
  {
    const auto frame = arena.frame();
    first = arena.vec<float>(16).data;
    arena.vec<float>(2 * kMiB);  // does not fit beside it
    EXPECT_GE(arena.capacity(), 8 * kMiB + 64);
  }
  const auto frame = arena.frame();
  EXPECT_EQ(arena.vec<float>(16).data, first);
}

TEST(Arena, AnExceptionGivesBackToo) {
  Arena arena;
  const auto outer = arena.frame();
  float* first = nullptr;
  try {
    const auto frame = arena.frame();
    first = arena.vec<float>(8).data;
    throw std::runtime_error("x");
  } catch (const std::runtime_error&) {
    EXPECT_EQ(arena.vec<float>(8).data, first);
  }
}

TEST(Arena, DoesNotGrowInSteadyState) {
  Arena arena;
  const auto step = [&] {
    const auto frame = arena.frame();
    TestRandom random(2);  // the same requests each time
    for (int i = 0; i < 20; ++i) {
      const auto layer = arena.frame();
      arena.mat<float>(1 + random.below(64), 1 + random.below(50'000));
      arena.vec<double>(random.below(3'000'000));
    }
    arena.vec<float>(5 * kMiB);
  };
  step();
  const int64_t after_one = arena.capacity();
  EXPECT_GT(after_one, 0);
  for (int i = 0; i < 50; ++i) step();
  EXPECT_EQ(arena.capacity(), after_one);
}

TEST(Arena, NothingIsAllowedAndLessIsNot) {
  Arena arena;
  EXPECT_EQ(arena.capacity(), 0);
  EXPECT_EQ(arena.mat<float>(0, 8).shape[0], 0);
  EXPECT_TRUE(contains(error_of(ErrorKind::kInternal, [&] { arena.vec<float>(-1); }), "-4 bytes of scratch"));
}

}  // namespace
}  // namespace hadal
