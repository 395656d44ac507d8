#include "hadal/engine/page_allocator.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "hadal/core/test_random.h"

namespace hadal::engine {
namespace {

using Pages = std::vector<int32_t>;

TEST(PageAllocator, GivesAsManyPagesAsTheLengthNeeds) {
  PageAllocator pages(10, 16);
  for (const auto& [length, expected] : {std::pair{0, 0}, {1, 1}, {16, 1}, {17, 2}, {160, 10}}) {
    Pages table;
    ASSERT_TRUE(pages.reserve(table, length));
    EXPECT_EQ(table.size(), static_cast<size_t>(expected)) << length;
    EXPECT_EQ(pages.num_free(), 10 - expected);
    pages.release(table);
  }
}

TEST(PageAllocator, GrowsATableAndKeepsWhatItHas) {
  PageAllocator pages(10, 16);
  Pages table;
  ASSERT_TRUE(pages.reserve(table, 20));
  const Pages before = table;
  ASSERT_TRUE(pages.reserve(table, 32));
  EXPECT_EQ(table, before) << "it already held so many";
  ASSERT_TRUE(pages.reserve(table, 5));
  EXPECT_EQ(table, before) << "nor does it shrink";
  ASSERT_TRUE(pages.reserve(table, 33));
  ASSERT_EQ(table.size(), 3U);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), table.begin()));
}

TEST(PageAllocator, WhenFullNothingChanges) {
  PageAllocator pages(4, 16);
  Pages a, b;
  ASSERT_TRUE(pages.reserve(a, 33));
  ASSERT_TRUE(pages.reserve(b, 10));
  const Pages before = b;
  EXPECT_FALSE(pages.reserve(b, 17));
  EXPECT_EQ(b, before);
  EXPECT_EQ(pages.num_free(), 0);
  pages.release(a);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(pages.num_free(), 3);
  EXPECT_TRUE(pages.reserve(b, 64));
}

TEST(PageAllocator, KnowsWhatCanNeverFit) {
  const PageAllocator pages(3, 16);
  EXPECT_TRUE(pages.can_ever_hold(0));
  EXPECT_TRUE(pages.can_ever_hold(48));
  EXPECT_FALSE(pages.can_ever_hold(49));
  EXPECT_FALSE(PageAllocator(0, 16).can_ever_hold(1));
}

TEST(PageAllocator, NoPageHasTwoOwnersAndNoneIsLost) {
  constexpr int64_t kPages = 37, kPageSize = 8;
  PageAllocator pages(kPages, kPageSize);
  TestRandom random(1);
  std::vector<Pages> tables(9);
  for (int i = 0; i < 20'000; ++i) {
    Pages& table = tables[static_cast<size_t>(random.below(9))];
    if (random.below(4) == 0) {
      pages.release(table);
    } else {
      const int64_t length = random.below(120), needed = (length + kPageSize - 1) / kPageSize;
      const auto held = static_cast<int64_t>(table.size());
      const bool fits = needed - held <= pages.num_free();
      ASSERT_EQ(pages.reserve(table, length), fits);
      ASSERT_EQ(static_cast<int64_t>(table.size()), fits ? std::max(held, needed) : held);
    }
    std::set<int32_t> owned;
    int64_t count = 0;
    for (const Pages& each : tables) {
      owned.insert(each.begin(), each.end());
      count += static_cast<int64_t>(each.size());
    }
    ASSERT_EQ(static_cast<int64_t>(owned.size()), count);
    ASSERT_EQ(count + pages.num_free(), kPages);
    ASSERT_TRUE(owned.empty() || (*owned.begin() >= 0 && *owned.rbegin() < kPages));
  }
}

}  // namespace
}  // namespace hadal::engine
