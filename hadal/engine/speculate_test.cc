#include "hadal/engine/speculate.h"

#include <gtest/gtest.h>

namespace hadal::engine {
namespace {

using Tokens = std::vector<int32_t>;

TEST(NgramDrafts, AreWhatFollowedTheSameTokensLast) {
  const Tokens prompt{1, 2, 3, 10, 11, 12, 1, 2, 3, 20, 21, 22}, answer{5, 1, 2, 3};
  EXPECT_EQ(ngram_drafts(prompt, answer, 2, 4, 3), (Tokens{20, 21, 22})) << "the later place of 1 2 3";
  EXPECT_EQ(ngram_drafts(prompt, answer, 2, 4, 5), (Tokens{20, 21, 22, 5, 1})) << "into the answer";
}

TEST(NgramDrafts, PreferTheLongerMatch) {
  const Tokens prompt{9, 1, 2, 3, 30, 31, 8, 2, 3, 40, 41}, answer{1, 2, 3};
  EXPECT_EQ(ngram_drafts(prompt, answer, 2, 3, 2), (Tokens{30, 31})) << "2 3 came later, 1 2 3 is longer";
  EXPECT_EQ(ngram_drafts(prompt, answer, 2, 2, 2), (Tokens{40, 41}));
}

TEST(NgramDrafts, AreNoneWhereNothingIsTheSame) {
  EXPECT_EQ(ngram_drafts(Tokens{1, 2, 3, 4}, Tokens{5, 6}, 2, 4, 4), Tokens{});
  EXPECT_EQ(ngram_drafts(Tokens{1}, Tokens{}, 2, 4, 4), Tokens{});
  EXPECT_EQ(ngram_drafts(Tokens{}, Tokens{7}, 1, 4, 4), Tokens{});
}

TEST(NgramDrafts, MayOverlapWithTheEndItself) {
  EXPECT_EQ(ngram_drafts(Tokens{4}, Tokens{4, 4, 4}, 2, 2, 3), (Tokens{4, 4, 4}))
      << "what repeats goes on repeating";
}

}  // namespace
}  // namespace hadal::engine
