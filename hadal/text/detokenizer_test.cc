#include "hadal/text/detokenizer.h"

#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "hadal/text/text_cases.h"

namespace hadal::text {
namespace {

const Tokenizer& tiny_chat() {
  static const Tokenizer tokenizer = Tokenizer::load(kTinyChat);
  return tokenizer;
}

bool is_utf8(const std::string& text) {
  std::string bytes = text, whole;
  take_characters(bytes, whole);
  return bytes.empty() && whole == text;
}

void expect_streams_like_decode(const std::vector<int32_t>& ids) {
  for (const bool skip_special : {false, true}) {
    Detokenizer detokenizer(tiny_chat(), skip_special);
    std::string streamed;
    for (const int32_t id : ids) {
      const std::string piece = detokenizer.push(id);
      ASSERT_TRUE(is_utf8(piece));
      streamed += piece;
    }
    streamed += detokenizer.finish();
    ASSERT_EQ(streamed, tiny_chat().decode(ids, skip_special));
  }
}

TEST(Detokenizer, NeverCutsACharacter) {
  const std::string text = "é中😀👩‍👩‍👧‍👦 naïve Привет";
  Detokenizer detokenizer(tiny_chat(), false);
  std::string streamed;
  for (const int32_t id : tiny_chat().encode(text)) {
    const std::string piece = detokenizer.push(id);
    EXPECT_EQ(piece.find("\xEF\xBF\xBD"), std::string::npos);
    streamed += piece;
  }
  EXPECT_EQ(streamed, text);
  EXPECT_EQ(detokenizer.finish(), "");
}

TEST(Detokenizer, AddsUpToDecodeForRandomIds) {
  std::mt19937 random(7);
  std::uniform_int_distribution<int32_t> any(0, tiny_chat().vocab_size() - 1), byte(0, 300);
  for (int round = 0; round < 500; ++round) {
    std::vector<int32_t> ids(1 + random() % 40);
    for (int32_t& id : ids)
      id = round % 2 == 0 ? any(random) : byte(random);  // the first ids are single bytes
    expect_streams_like_decode(ids);
  }
}

// Every sequence of up to three bytes around the borders of UTF-8, against the library's own decoding.
TEST(Detokenizer, ReplacesBrokenCharactersAsTheLibraryDoes) {
  std::vector<int32_t> borders;
  for (const int byte : {0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2,
                         0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF3, 0xF4, 0xF5, 0xFF}) {
    for (int32_t id = 0; id < tiny_chat().vocab_size(); ++id) {
      if (tiny_chat().token_bytes(id) == std::string(1, static_cast<char>(byte))) borders.push_back(id);
    }
  }
  ASSERT_EQ(borders.size(), 21U);
  for (const int32_t a : borders) {
    for (const int32_t b : borders) {
      for (const int32_t c : borders) expect_streams_like_decode({a, b, c});
    }
  }
  for (const int32_t b : borders) {
    for (const int32_t c : borders)
      expect_streams_like_decode({borders[16], b, c, borders[2], b, c});  // begins with F0
  }
}

// A model's vocabulary is padded beyond the tokenizer's: such an id may be drawn, and is no text.
TEST(Detokenizer, IdsWithoutATokenAreNoText) {
  Detokenizer detokenizer(tiny_chat(), true);
  EXPECT_THROW(detokenizer.push(-1), Error);
  EXPECT_EQ(detokenizer.push(tiny_chat().vocab_size()), "");
  EXPECT_EQ(detokenizer.finish(), "");
}

}  // namespace
}  // namespace hadal::text
