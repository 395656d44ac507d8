#include "hadal/serve/accounts_key.h"

#include <array>
#include <cctype>
#include <set>

#include <gtest/gtest.h>

namespace hadal::serve {
namespace {

TEST(AccountsKey, Form) {
  const std::string key = make_key("abcDEF0189");
  EXPECT_EQ(key.size(), 9 + 10 + 32u);
  EXPECT_TRUE(key.starts_with("sk-hadal-abcDEF0189"));
  EXPECT_EQ(key_id(key), "abcDEF0189");
  for (const char c : key.substr(9)) EXPECT_TRUE(std::isalnum(static_cast<unsigned char>(c)));
}

TEST(AccountsKey, WhatIsNoKeyHasNoId) {
  const std::string key = make_key("abcDEF0189");
  std::string odd = key;
  odd[20] = '-';
  for (const std::string& text :
       {std::string(), std::string("sk-hadal-"), key.substr(1), key + "0", "SK" + key.substr(2), odd,
        std::string(51, '\0'), std::string(1 << 20, 'a')})
    EXPECT_EQ(key_id(text), "") << text.substr(0, 60);
}

TEST(AccountsKey, SecretsDifferAndUseAllLetters) {
  std::set<std::string> seen;
  std::array<int, 256> counts{};
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_id(kKeySecretLength);
    EXPECT_TRUE(seen.insert(text).second);
    for (const char c : text) ++counts[static_cast<unsigned char>(c)];
  }
  // 64000 draws of 62 letters: 1032 each, standard deviation 32; 6 of them is one chance in a hundred million.
  int letters = 0;
  for (const int count : counts) {
    if (count == 0) continue;
    ++letters;
    EXPECT_NEAR(count, 64000 / 62, 6 * 32);
  }
  EXPECT_EQ(letters, 62);
}

TEST(AccountsKey, Digest) {
  // printf %s sk-hadal-0 | sha256sum
  EXPECT_EQ(key_digest("sk-hadal-0"), "16093a24e8172b0206c008e5b40a995b6acc47f392719c5c60728d7973f83ede");
  EXPECT_TRUE(same_digest(key_digest("a"), key_digest("a")));
  EXPECT_FALSE(same_digest(key_digest("a"), key_digest("b")));
  EXPECT_FALSE(same_digest(key_digest("a"), ""));
}

}  // namespace
}  // namespace hadal::serve
