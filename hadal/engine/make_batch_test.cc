#include "hadal/engine/make_batch.h"

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"

namespace hadal::engine {
namespace {

using Numbers = std::vector<int32_t>;

Numbers numbers(std::span<const int32_t> span) {
  return {span.begin(), span.end()};
}

TEST(BatchBuilder, LaysPartsEndToEnd) {
  BatchBuilder builder(4);
  const Numbers one = {70}, prompt = {10, 11, 12}, pages_a = {5, 2}, pages_b = {9, 7, 1};
  builder.add({.tokens = one, .first_position = 5, .pages = pages_a, .decode = true});
  builder.add({.tokens = prompt, .first_position = 6, .pages = pages_b});
  const ops::Batch batch = builder.batch();
  EXPECT_EQ(numbers(batch.tokens), (Numbers{70, 10, 11, 12}));
  EXPECT_EQ(numbers(batch.positions), (Numbers{5, 6, 7, 8}));
  // Position 5 is at offset 1 of its sequence's page 1, which is page 2: slot 2 * 4 + 1.
  EXPECT_EQ(numbers(batch.slots), (Numbers{9, 30, 31, 4}));
  EXPECT_EQ(numbers(batch.seq_start), (Numbers{0, 1, 4}));
  ASSERT_EQ(batch.pages.size(), 2U);
  EXPECT_EQ(numbers(batch.pages[0]), pages_a);
  EXPECT_EQ(numbers(batch.pages[1]), pages_b);
  EXPECT_EQ(batch.page_size, 4);
  EXPECT_EQ(batch.num_tokens(), 4);
  EXPECT_EQ(batch.num_seqs(), 2);
  EXPECT_EQ(batch.num_decode_seqs, 1);
  EXPECT_EQ(batch.num_decode_tokens(), 1);
}

TEST(BatchBuilder, WantsTheLogitsOfTheLastTokenOrOfAllOrNone) {
  BatchBuilder builder(8);
  const Numbers tokens = {1, 2, 3}, pages = {0};
  builder.add({.tokens = tokens, .pages = pages, .decode = true});
  builder.add({.tokens = tokens, .pages = pages, .wants_logits = false});
  builder.add({.tokens = tokens, .pages = pages, .all_logits = true});
  builder.add({.tokens = tokens, .pages = pages});
  EXPECT_EQ(numbers(builder.batch().logit_rows), (Numbers{2, 6, 7, 8, 11}));
  EXPECT_EQ(builder.batch().num_decode_tokens(), 3);
}

TEST(BatchBuilder, StartsAnewAfterClear) {
  BatchBuilder builder(8);
  const Numbers tokens = {1, 2}, pages = {3};
  for (int round = 0; round < 3; ++round) {
    builder.clear();
    EXPECT_EQ(builder.batch().num_tokens(), 0);
    EXPECT_EQ(builder.batch().num_seqs(), 0);
    EXPECT_EQ(builder.batch().num_decode_tokens(), 0);
    builder.add({.tokens = tokens, .pages = pages, .decode = round == 0});
    EXPECT_EQ(numbers(builder.batch().slots), (Numbers{24, 25}));
    EXPECT_EQ(numbers(builder.batch().logit_rows), (Numbers{1}));
    EXPECT_EQ(builder.batch().num_decode_seqs, round == 0 ? 1 : 0);
  }
}

TEST(BatchBuilder, DecodeComesBeforePrefill) {
  BatchBuilder builder(8);
  const Numbers tokens = {1}, pages = {0};
  builder.add({.tokens = tokens, .pages = pages});
  EXPECT_TRUE(contains(error_of(ErrorKind::kInternal,
                                [&] { builder.add({.tokens = tokens, .pages = pages, .decode = true}); }),
                       "decode parts come before prefill parts"));
}

TEST(BatchBuilder, APositionWithoutAPageIsABug) {
  BatchBuilder builder(4);
  const Numbers tokens = {1, 2}, pages = {0, 1};
  EXPECT_NO_THROW(builder.add({.tokens = tokens, .first_position = 6, .pages = pages}));
  EXPECT_TRUE(
      contains(error_of(ErrorKind::kInternal,
                        [&] { builder.add({.tokens = tokens, .first_position = 7, .pages = pages}); }),
               "position 8 needs page 2 of 2"));
}

}  // namespace
}  // namespace hadal::engine
