#include "hadal/text/tokenizer.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "hadal/text/detokenizer.h"
#include "hadal/text/text_cases.h"

namespace hadal::text {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;

const Tokenizer& tiny_chat() {
  static const Tokenizer tokenizer = Tokenizer::load(kTinyChat);
  return tokenizer;
}

// A folder with just these files, gone at the end of the test.
class TokenizerFolder {
 public:
  TokenizerFolder(const std::string& tokenizer, const std::string& config = "") {
    path_ = fs::temp_directory_path() /
            ("hadal_tokenizer_" + std::to_string(counter_++) + "_" +
             std::to_string(std::chrono::steady_clock::now().time_since_epoch().count()));
    fs::create_directories(path_);
    std::ofstream(path_ / "tokenizer.json") << tokenizer;
    if (!config.empty()) std::ofstream(path_ / "tokenizer_config.json") << config;
  }
  ~TokenizerFolder() { fs::remove_all(path_); }
  TokenizerFolder(const TokenizerFolder&) = delete;
  TokenizerFolder& operator=(const TokenizerFolder&) = delete;
  std::string path() const { return path_.string(); }

 private:
  static inline int counter_ = 0;
  fs::path path_;
};

std::string small_tokenizer(const std::string& vocab, const std::string& added = "[]",
                            const std::string& merges = "[]") {
  return R"({"added_tokens":)" + added +
         R"(,"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false},)"
         R"("post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false},)"
         R"("model":{"type":"BPE","dropout":null,"unk_token":null,"fuse_unk":false,"byte_fallback":false,"vocab":)" +
         vocab + R"(,"merges":)" + merges + "}}";
}

std::string load_error(const std::string& tokenizer, const std::string& config = "") {
  const TokenizerFolder folder(tokenizer, config);
  try {
    Tokenizer::load(folder.path());
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kCheckpoint) << e.what();
    return e.what();
  }
  return "";
}

TEST(Tokenizer, EncodesAndDecodesLikeThePythonLibrary) {
  for_each_case(std::string(kCases) + "tokenizer_cases.jsonl", [](const json& row) {
    const auto ids = row["ids"].get<Ids>();
    EXPECT_EQ(tiny_chat().encode(row["text"].get<std::string>()), ids) << row["text"];
    EXPECT_EQ(tiny_chat().decode(ids, false), row["decoded"].get<std::string>());
  });
  for_each_case(std::string(kCases) + "decode_cases.jsonl", [](const json& row) {
    const auto ids = row["ids"].get<Ids>();
    EXPECT_EQ(tiny_chat().decode(ids, false), row["text"].get<std::string>());
    EXPECT_EQ(tiny_chat().decode(ids, true), row["text_skip_special"].get<std::string>());
  });
}

TEST(Tokenizer, AddsBosWhenTheConfigSaysSo) {
  const Ids plain = tiny_chat().encode("Hi");
  Ids with_bos = tiny_chat().encode("Hi", true);
  ASSERT_EQ(with_bos.front(), tiny_chat().bos_token_id());
  with_bos.erase(with_bos.begin());
  EXPECT_EQ(with_bos, plain);

  const std::string tokenizer = small_tokenizer(R"({"a":0,"b":1,"<s>":2})");
  const TokenizerFolder without(tokenizer, R"({"add_bos_token":false,"bos_token":"<s>","eos_token":null})");
  EXPECT_EQ(Tokenizer::load(without.path()).encode("ab", true), (Ids{0, 1}));
  const TokenizerFolder object(tokenizer, R"({"add_bos_token":true,"bos_token":{"content":"<s>"}})");
  EXPECT_EQ(Tokenizer::load(object.path()).encode("ab", true), (Ids{2, 0, 1}));
  const TokenizerFolder alone(tokenizer);
  EXPECT_EQ(Tokenizer::load(alone.path()).encode("ab", true), (Ids{0, 1}));
  EXPECT_EQ(Tokenizer::load(alone.path()).eos_token_id(), std::nullopt);
  EXPECT_NE(load_error(tokenizer, R"({"add_bos_token":true,"bos_token":"<none>"})"), "");
  EXPECT_NE(load_error(tokenizer, R"({"add_bos_token":"yes","bos_token":"<s>"})"), "");
}

TEST(Tokenizer, KnowsItsTokens) {
  const Tokenizer& t = tiny_chat();
  const auto eos = t.eos_token_id();
  ASSERT_TRUE(eos.has_value());
  EXPECT_EQ(t.token(*eos), "<｜end▁of▁sentence｜>");
  EXPECT_EQ(t.token_id("<｜end▁of▁sentence｜>"), eos);
  EXPECT_TRUE(t.is_special(*eos));
  EXPECT_EQ(t.token_id("no such token"), std::nullopt);
  EXPECT_EQ(t.token(-1), "");
  EXPECT_EQ(t.token(t.vocab_size()), "");
  EXPECT_FALSE(t.is_special(t.vocab_size()));
  std::string bytes;
  for (const int32_t id : t.encode("Grüße, 世界 <｜User｜>")) bytes += t.token_bytes(id);
  EXPECT_EQ(bytes, "Grüße, 世界 <｜User｜>");
}

TEST(Tokenizer, RefusesWhatItCannotDo) {
  EXPECT_THROW(tiny_chat().encode("ab\xFF"), Error);
  EXPECT_THROW(tiny_chat().encode("\xED\xA0\x80"), Error);  // a surrogate
  EXPECT_THROW(tiny_chat().decode(Ids{-1}, false), Error);
  EXPECT_THROW(tiny_chat().decode(Ids{tiny_chat().vocab_size()}, false), Error);
  try {
    tiny_chat().encode("abc\x80");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kRequest);
    EXPECT_TRUE(contains(e.what(), "byte 3")) << e.what();
  }
}

TEST(Tokenizer, RefusesBadFiles) {
  EXPECT_EQ(load_error(small_tokenizer(R"({"a":0,"b":1,"ab":2})", "[]", R"([["a","b"]])")), "");
  const std::vector<std::string> bad = {
      "",
      "{}",
      "[]",
      "null",
      "{\"model\":",
      small_tokenizer(R"({"a":0,"b":2})"),                        // a hole
      small_tokenizer(R"({"a":0,"b":0})"),                        // one id twice
      small_tokenizer(R"({"a":0,"b":-1})"),                       // negative
      small_tokenizer(R"({"a":0,"b":4294967295})"),               // huge
      small_tokenizer(R"({"a":0,"b":99999999999999999999})"),     // beyond 64 bits
      small_tokenizer(R"({"a":0,"b":1.5})"),                      // not an integer
      small_tokenizer(R"({"a":0})", "[]", R"([["a","b"]])"),      // a merge of an unknown token
      small_tokenizer(R"({"a":0,"b":1})", "[]", R"(["a b c"])"),  // a merge of three
      small_tokenizer(R"({"a":0})",
                      R"([{"id":7,"content":"<x>","single_word":false,"lstrip":false,"rstrip":false,)"
                      R"("normalized":false,"special":true}])"),
      small_tokenizer(R"({"a":0})", R"([{"id":1}])"),
      small_tokenizer("[[[[[[[[[[]]]]]]]]]]"),
      std::string(200000, '['),
  };
  for (const std::string& text : bad) EXPECT_NE(load_error(text), "") << text.substr(0, 300);
  EXPECT_THROW(Tokenizer::load("no/such/folder"), Error);
}

// Text that makes other tokenizers recurse or backtrack. Here: linear, on a thread with a small stack.
TEST(Tokenizer, TakesHostileTextInItsStride) {
  constexpr size_t kSize = 64 << 10;
  std::vector<std::string> texts;
  for (const char* unit :
       {"a", " ", "7", "\n", "\r\n", "!", "\t", "é", "中", "😀", " \n", "e\xCC\x81", "<｜User｜>"}) {
    std::string text;
    while (text.size() < kSize) text += unit;
    texts.push_back(text + "1");
  }
  for (const std::string& text : texts) {
    std::string decoded;
    std::thread([&] { decoded = tiny_chat().decode(tiny_chat().encode(text), false); }).join();
    EXPECT_EQ(decoded, text) << text.substr(0, 12);
  }
}

// The genuine tokenizers are not part of this repository. HADAL_TOKENIZER_CASES names a folder with subfolders that
// hold tokenizer.json and cases.jsonl, decode_cases.jsonl.
TEST(Tokenizer, AgreesOnTheFilesOfHadalTokenizerCases) {
  const char* root = std::getenv("HADAL_TOKENIZER_CASES");
  if (root == nullptr) GTEST_SKIP() << "HADAL_TOKENIZER_CASES is not set";
  for (const auto& folder : fs::directory_iterator(root)) {
    const fs::path cases = folder.path() / "cases.jsonl", decode_cases = folder.path() / "decode_cases.jsonl";
    if (!fs::exists(cases)) continue;
    const Tokenizer tokenizer = Tokenizer::load(folder.path().string());
    for_each_case(cases.string(), [&](const json& row) {
      const auto ids = row["ids"].get<Ids>();
      const auto text = row["text"].get<std::string>();
      EXPECT_EQ(tokenizer.encode(text), ids) << folder << row["text"];
      EXPECT_EQ(tokenizer.decode(ids, false), row.value("decoded", text)) << folder << row["text"];
    });
    for_each_case(decode_cases.string(), [&](const json& row) {
      const auto ids = row["ids"].get<Ids>();
      EXPECT_EQ(tokenizer.decode(ids, false), row["text"].get<std::string>());
      EXPECT_EQ(tokenizer.decode(ids, true), row["text_skip_special"].get<std::string>());
      std::string streamed;
      Detokenizer detokenizer(tokenizer, false);
      for (const int32_t id : ids) streamed += detokenizer.push(id);
      EXPECT_EQ(streamed + detokenizer.finish(), row["text"].get<std::string>());
    });
  }
}

}  // namespace
}  // namespace hadal::text
