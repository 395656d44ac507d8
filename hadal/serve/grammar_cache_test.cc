#include "hadal/serve/grammar_cache.h"

#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "hadal/core/error.h"

namespace hadal::serve {
namespace {

using Kind = text::Grammar::Kind;

const text::Tokenizer& tokenizer() {
  static const auto loaded = text::Tokenizer::load("models/tiny-chat");
  return loaded;
}

Constraint number(int i) {
  return {Kind::kRegex, fmt::format("{:04}", i)};
}

bool allows(text::Grammar grammar, std::string_view text) {
  std::vector<uint32_t> mask(static_cast<size_t>(tokenizer().vocab_size() + 31) / 32);
  for (const int32_t id : tokenizer().encode(text)) {
    grammar.mask(mask);
    if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) == 0) return false;
    grammar.accept(id);
  }
  return true;
}

TEST(GrammarCache, GivesAGrammarAtItsStartEachTime) {
  GrammarCache cache(tokenizer());
  EXPECT_FALSE(cache.has(number(17)));
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(allows(cache.get(number(17)), "0017"));
    EXPECT_FALSE(allows(cache.get(number(17)), "0018"));
  }
  EXPECT_TRUE(cache.has(number(17)));
}

TEST(GrammarCache, TellsKindsApart) {
  GrammarCache cache(tokenizer());
  EXPECT_TRUE(allows(cache.get({Kind::kRegex, "7"}), "7"));
  EXPECT_THROW(cache.get({Kind::kLark, "7"}), Error) << "no grammar";
  EXPECT_FALSE(cache.has({Kind::kLark, "7"})) << "what does not compile is not kept";
}

TEST(GrammarCache, ForgetsWhatWasUsedLongestAgo) {
  GrammarCache cache(tokenizer());
  for (int i = 0; i < 64; ++i) cache.get(number(i));
  cache.get(number(0));
  cache.get(number(64));
  EXPECT_TRUE(cache.has(number(0)));
  EXPECT_FALSE(cache.has(number(1)));
  EXPECT_TRUE(cache.has(number(64)));
}

TEST(GrammarCache, HasABoundInBytes) {
  GrammarCache cache(tokenizer());
  const auto large = [](char letter) {
    return Constraint{Kind::kLark, fmt::format("start: \"a\" // {}\n", std::string(400'000, letter))};
  };
  for (const char letter : {'x', 'y', 'z'}) cache.get(large(letter));
  EXPECT_FALSE(cache.has(large('x')));
  EXPECT_TRUE(cache.has(large('y')));
  EXPECT_TRUE(cache.has(large('z')));
}

TEST(GrammarCache, ServesThreads) {
  GrammarCache cache(tokenizer());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&cache] {
      for (int i = 0; i < 40; ++i) {
        const std::string text = number(i % 10).source;
        EXPECT_TRUE(allows(cache.get(number(i % 10)), text));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace hadal::serve
