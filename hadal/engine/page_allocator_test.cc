#include "hadal/engine/page_allocator.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "hadal/core/test_random.h"

namespace hadal::engine {
namespace {

using Pages = std::vector<int32_t>;

Prefix match(PageAllocator& pages, std::span<const int32_t> tokens, std::string_view salt, Pages& table) {
  Prefix prefix;
  pages.match_prefix(prefix, tokens, salt, table);
  return prefix;
}

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

std::vector<int32_t> text(int64_t length, int32_t first) {
  std::vector<int32_t> tokens(static_cast<size_t>(length), 1);
  tokens[0] = first;
  return tokens;
}

// A sequence that has computed the whole of `tokens`.
Pages computed(PageAllocator& pages, const std::vector<int32_t>& tokens, std::string_view salt = "") {
  Pages table;
  Prefix prefix = match(pages, tokens, salt, table);
  EXPECT_TRUE(pages.reserve(table, std::ssize(tokens)));
  pages.index(prefix, tokens, salt, table);
  return table;
}

TEST(PageAllocator, APrefixIsFoundByItsTokens) {
  PageAllocator pages(20, 4);
  Pages a = computed(pages, text(14, 7));
  Pages b;
  const Prefix found = match(pages, text(30, 7), "", b);
  EXPECT_EQ(found.num_pages, 3) << "14 tokens are three full pages";
  EXPECT_TRUE(std::equal(b.begin(), b.end(), a.begin()));
  EXPECT_EQ(pages.num_free(), 16) << "shared, not copied";
  Pages c;
  EXPECT_EQ(match(pages, text(30, 8), "", c).num_pages, 0) << "other first token";
  EXPECT_EQ(match(pages, text(30, 7), "salt", c).num_pages, 0);
  std::vector<int32_t> differs = text(12, 7);
  differs[5] = 9;
  EXPECT_EQ(match(pages, differs, "", c).num_pages, 1);
  pages.release(c);
  pages.release(a);
  EXPECT_EQ(pages.num_free(), 17) << "three are in use by b";
  pages.release(b);
  EXPECT_EQ(pages.num_free(), 20);
  EXPECT_EQ(pages.num_cached(), 3);
}

TEST(PageAllocator, WhatIsKeptForOthersGoesWhenRoomIsNeededTheOldestFirstAndItsEndFirst) {
  PageAllocator pages(6, 4);
  Pages a = computed(pages, text(12, 1)), b = computed(pages, text(12, 2));
  pages.release(a);
  pages.release(b);
  EXPECT_EQ(pages.num_cached(), 6);
  Pages other;
  ASSERT_TRUE(pages.reserve(other, 8));
  Pages found;
  EXPECT_EQ(match(pages, text(12, 1), "", found).num_pages, 1) << "the older one lost its last two pages";
  pages.release(found);
  EXPECT_EQ(match(pages, text(12, 2), "", found).num_pages, 3);
  pages.release(found);
  Pages more;
  ASSERT_TRUE(pages.reserve(more, 4));
  EXPECT_EQ(match(pages, text(12, 1), "", found).num_pages, 0) << "now the least lately used";
}

TEST(PageAllocator, WhatTwoHaveComputedIsIndexedOnce) {
  PageAllocator pages(20, 4);
  Pages a, b;
  const auto tokens = text(8, 3);
  Prefix first = match(pages, tokens, "", a), second = match(pages, tokens, "", b);
  ASSERT_TRUE(pages.reserve(a, 8) && pages.reserve(b, 8));
  pages.index(first, tokens, "", a);
  pages.index(second, tokens, "", b);
  EXPECT_EQ(first.chain, second.chain);
  pages.release(b);
  EXPECT_EQ(pages.num_cached(), 0) << "b's were its own";
  pages.release(a);
  EXPECT_EQ(pages.num_cached(), 2);
}

TEST(PageAllocator, ForgetsAllPrefixesButNotWhatIsInUse) {
  PageAllocator pages(20, 4);
  Pages a = computed(pages, text(8, 3)), b = computed(pages, text(8, 4)), found;
  pages.release(a);
  pages.forget();
  EXPECT_EQ(pages.num_cached(), 0);
  EXPECT_EQ(pages.num_free(), 18);
  EXPECT_EQ(match(pages, text(8, 4), "", found).num_pages, 0);
  pages.release(b);
  EXPECT_EQ(pages.num_free(), 20);
}

// Random texts of two letters share many beginnings; whatever is matched must be what the pages were filled with.
TEST(PageAllocator, NothingElseEverPassesForAPrefix) {
  constexpr int64_t kPages = 30, kPageSize = 4;
  PageAllocator pages(kPages, kPageSize);
  TestRandom random(2);
  std::vector<std::vector<int32_t>> content(kPages);
  struct User {
    Pages table;
    std::vector<int32_t> tokens;
  };
  std::vector<User> users(5);
  int64_t hits = 0;
  for (int i = 0; i < 20'000; ++i) {
    User& user = users[static_cast<size_t>(random.below(5))];
    pages.release(user.table);
    user.tokens.resize(static_cast<size_t>(1 + random.below(24)));
    for (int32_t& token : user.tokens) token = static_cast<int32_t>(random.below(8) == 0);
    Prefix prefix = match(pages, user.tokens, "", user.table);
    hits += prefix.num_pages;
    const auto all = std::span<const int32_t>(user.tokens);
    for (size_t p = 0; p < user.table.size(); ++p) {
      const auto part = all.first((p + 1) * kPageSize);
      ASSERT_TRUE(std::ranges::equal(content[static_cast<size_t>(user.table[p])], part));
    }
    if (!pages.reserve(user.table, std::ssize(all))) continue;
    for (auto p = static_cast<size_t>(prefix.num_pages); (p + 1) * kPageSize <= all.size(); ++p) {
      const auto part = all.first((p + 1) * kPageSize);
      content[static_cast<size_t>(user.table[p])].assign(part.begin(), part.end());
    }
    pages.index(prefix, all, "", user.table);
  }
  EXPECT_GT(hits, 1000);
}

}  // namespace
}  // namespace hadal::engine
