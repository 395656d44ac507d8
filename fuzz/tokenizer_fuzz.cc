#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz_main.h"
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "hadal/core/json.h"
#include "hadal/text/detokenizer.h"
#include "hadal/text/tokenizer.h"

namespace {

using hadal::json;
using hadal::fuzz::Random;
using hadal::text::Detokenizer;
using hadal::text::Tokenizer;

// A folder of this process, gone at its end.
class ScratchFolder {
 public:
  ScratchFolder() {
    path_ = std::filesystem::temp_directory_path() / ("hadal_fuzz_tokenizer_" + std::to_string(getpid()));
    std::filesystem::create_directories(path_);
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void promise(bool holds, const char* what) {
  if (!holds) throw std::logic_error(std::string("an accepted tokenizer breaks a promise: ") + what);
}

// The pieces of a byte-level tokenizer add up to its decoding; others are refused by token_bytes.
void check_streaming(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  try {
    tokenizer.token_bytes(0);
  } catch (const hadal::Error&) {
    return;
  }
  for (const bool skip_special : {false, true}) {
    Detokenizer detokenizer(tokenizer, skip_special);
    std::string text;
    for (const int32_t id : ids) text += detokenizer.push(id);
    promise(text + detokenizer.finish() == tokenizer.decode(ids, skip_special), "streamed text");
  }
}

// Whatever a tokenizer.json is, it is refused, or it has ids 0 to n - 1 and works on any text.
void run(std::string_view source) {
  static const ScratchFolder folder;
  std::ofstream(folder.path() / "tokenizer.json", std::ios::binary) << source;
  const Tokenizer tokenizer = Tokenizer::load(folder.path().string());
  const int32_t vocab_size = tokenizer.vocab_size();
  promise(static_cast<size_t>(vocab_size) <= source.size(), "more tokens than bytes");
  std::vector<int32_t> all;
  for (int32_t id = 0; id < vocab_size; ++id) {
    promise(!tokenizer.token(id).empty() || tokenizer.token_id("") == id, "every id has a token");
    all.push_back(id);
  }
  check_streaming(tokenizer, all);
  for (const char* text :
       {"", "Hello world, abcabc! 123", " \n\t<s>  a<s>b\n", "\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80"}) {
    const std::vector<int32_t> ids = tokenizer.encode(text);
    for (const int32_t id : ids) promise(id >= 0 && id < vocab_size, "ids in range");
    check_streaming(tokenizer, ids);
    tokenizer.decode(ids, true);
  }
}

json valid() {
  return hadal::parse_json(
      R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[
      {"id":8,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
      {"id":9,"content":"<t>","single_word":false,"lstrip":false,"rstrip":false,"normalized":true,"special":false}],
      "normalizer":{"type":"Sequence","normalizers":[]},
      "pre_tokenizer":{"type":"Sequence","pretokenizers":[
      {"type":"Split","pattern":{"Regex":"\\p{N}{1,3}"},"behavior":"Isolated","invert":false},
      {"type":"Split","pattern":{"Regex":"\\s+$"},"behavior":"Isolated","invert":false},
      {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]},
      "post_processor":null,
      "decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
      "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
      "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,
      "vocab":{"a":0,"b":1,"c":2,"ab":3,"abc":4,"Ġ":5,"1":6,"l":7},"merges":["a b","ab c"]}})",
      "seed", hadal::ErrorKind::kInternal);
}

std::vector<std::string> seeds() {
  json other = valid();
  other["model"]["merges"] = json::array({json::array({"a", "b"}), json::array({"ab", "c"})});
  other["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}};
  other["normalizer"] = {{"type", "NFC"}};
  json bare = valid();
  bare["added_tokens"] = json::array();
  bare["pre_tokenizer"] = bare["decoder"] = bare["normalizer"] = nullptr;
  return {valid().dump(), other.dump(), bare.dump()};
}

json& random_part(json& value, Random& random) {
  if (!value.is_structured() || value.empty() || random.one_in(6)) return value;
  auto at = value.begin();
  std::advance(at, static_cast<std::ptrdiff_t>(random.below(value.size())));
  return random_part(*at, random);
}

// One or two parts replaced: ids that overlap or leave holes, other types, other kinds of steps, hard patterns.
std::string make(Random& random) {
  static const std::vector<std::string> values = {
      "0",
      "1",
      "-1",
      "7",
      "8",
      "9",
      "4294967295",
      "99999999999999999999",
      "1.5",
      "null",
      "true",
      "\"\"",
      "\"a\"",
      "[]",
      "{}",
      "\"a b\"",
      "[\"a\",\"b\"]",
      "\"(a+)+$\"",
      "\"(\"",
      "\"\\\\p{L}+|(?!x)\"",
      "{\"String\":\"a\"}",
      "{\"Regex\":\"(a|b|ab)*c\"}",
      "{\"Regex\":\"(?<=a)b\"}",
      "{\"type\":\"NFKC\"}",
      "{\"type\":\"Lowercase\"}",
      "{\"type\":\"Digits\",\"individual_digits\":true}",
      "{\"type\":\"Whitespace\"}",
      "{\"type\":\"Fuse\"}",
      "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"always\"}",
      "\"Removed\"",
      "\"MergedWithNext\"",
      "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a*\"},\"content\":\"bb\"}",
      "{\"type\":\"ByteFallback\"}",
      "{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}",
      "{\"type\":\"Prepend\",\"prepend\":\"x\"}",
      "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}",
      "0.5",
      "\"<s>\"",
      "\"é\"",
      "{\"a\":0,\"a\":1}"};
  json file = valid();
  for (size_t n = 1 + random.below(2); n > 0; --n) {
    json& part = random_part(file, random);
    part = json::parse(random.pick(values));
  }
  return file.dump();
}

}  // namespace

int main(int argc, char** argv) {
  return hadal::fuzz::fuzz_main(argc, argv,
                                {.name = "fuzz_tokenizer",
                                 .seeds = seeds(),
                                 .dictionary = {"\"vocab\"",
                                                "\"merges\"",
                                                "\"added_tokens\"",
                                                "\"id\":",
                                                "\"content\":",
                                                "\"Regex\":",
                                                "\"type\":",
                                                "\"Split\"",
                                                "\"ByteLevel\"",
                                                "\"BPE\"",
                                                "\"WordPiece\"",
                                                "\"Unigram\"",
                                                "\"NFC\"",
                                                "\"special\":true",
                                                "\"normalized\":true",
                                                "\"single_word\":true",
                                                "\"lstrip\":true",
                                                "\"byte_fallback\":true",
                                                "\"unk_token\":\"a\"",
                                                "\"ignore_merges\":true",
                                                "\\\\s+",
                                                "(?:",
                                                "{1,99}",
                                                "\\u0000",
                                                "null",
                                                "true",
                                                "{",
                                                "}",
                                                "[",
                                                "]",
                                                ",",
                                                ":",
                                                "\"",
                                                "\"a\":0,",
                                                "\"end_of_word_suffix\":\"</w>\""},
                                 .run = run,
                                 .make = make});
}
