#include "hadal/core/json.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/core/test_files.h"

namespace hadal {
namespace {

json parse(std::string_view text) {
  return parse_json(text, "a.json", ErrorKind::kConfig);
}

std::string refusal_of(std::string_view text) {
  std::string message = error_of(ErrorKind::kConfig, [&] { parse(text); });
  EXPECT_TRUE(message.starts_with("a.json\n")) << message;
  return message;
}

std::string nested(int depth, std::string_view open, std::string_view inner, std::string_view close) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += open;
  text += inner;
  for (int i = 0; i < depth; ++i) text += close;
  return text;
}

TEST(ParseJson, ReadsValues) {
  const json value = parse(R"( {"b": [1, -2.5, true, null], "a": {"s": "\u00e9\ud83d\ude00"}} )");
  EXPECT_EQ(value["b"][0].get<int64_t>(), 1);
  EXPECT_EQ(value["b"][1].get<double>(), -2.5);
  EXPECT_TRUE(value["b"][2].get<bool>());
  EXPECT_TRUE(value["b"][3].is_null());
  EXPECT_EQ(value["a"]["s"].get<std::string>(), "\xC3\xA9\xF0\x9F\x98\x80");
  EXPECT_EQ(parse("9223372036854775807").get<int64_t>(), INT64_MAX);
}

TEST(ParseJson, KeepsTheOrderOfKeys) {
  EXPECT_EQ(parse(R"({"z":1,"a":2,"m":3})").dump(), R"({"z":1,"a":2,"m":3})");
}

TEST(ParseJson, RefusesADuplicateKeyAtAnyDepth) {
  EXPECT_TRUE(contains(refusal_of(R"({"a":1,"a":2})"), R"(key "a" appears twice in one object)"));
  EXPECT_TRUE(contains(refusal_of(R"({"x":[{"b":1,"c":2,"b":1}]})"), R"(key "b" appears twice)"));
  EXPECT_TRUE(contains(refusal_of(R"({"a":1,"\u0061":2})"), R"(key "a" appears twice)"));
  EXPECT_TRUE(contains(refusal_of(R"({"":1,"":2})"), R"(key "" appears twice)"));
  // The same key in two objects is no duplicate, nor is one as key and as value.
  EXPECT_NO_THROW(parse(R"({"a":{"a":"a"},"b":{"a":1},"c":[{"a":1},{"a":1}]})"));
}

TEST(ParseJson, RefusesDeepNesting) {
  EXPECT_NO_THROW(parse(nested(kMaxJsonDepth, "[", "1", "]")));
  EXPECT_NO_THROW(parse(nested(kMaxJsonDepth, R"({"a":)", "1", "}")));
  EXPECT_TRUE(contains(refusal_of(nested(kMaxJsonDepth + 1, "[", "", "]")), "deeper than 64 levels"));
  EXPECT_TRUE(contains(refusal_of(nested(kMaxJsonDepth + 1, R"({"a":)", "1", "}")), "deeper than 64 levels"));
  EXPECT_TRUE(contains(refusal_of(nested(33, R"([{"a":)", "1", "}]")), "deeper than 64 levels"));
  // Neither the parser nor a destructor recurses over what a hostile file has.
  EXPECT_TRUE(contains(refusal_of(std::string(10'000'000, '[')), "deeper than 64 levels"));
}

TEST(ParseJson, RefusesWhatIsNoJson) {
  for (const std::string_view text :
       {"",   " ",  "{",  "[1,]",  "{\"a\"}", "{\"a\":1,}", "{a:1}",       "'a'",       "nul", "NaN", "01",
        "+1", ".5", "1.", "[1 2]", "\"\t\"",  "\"\\x\"",    "\"\\ud800\"", "/* c */ 1", "\"a", "--1"}) {
    EXPECT_TRUE(contains(refusal_of(text), "line ")) << text;
  }
  EXPECT_TRUE(contains(refusal_of("1e999"), "number overflow"));
}

TEST(ParseJson, RefusesTrailingBytes) {
  for (const std::string_view text : {"{} x", "1 2", "{}{}", "[],", "{}]", "null\x01"}) {
    EXPECT_TRUE(contains(refusal_of(text), "line 1, column ")) << text;
  }
  EXPECT_TRUE(contains(refusal_of(std::string_view("{}\0", 3)), "line 1, column 3"));
  EXPECT_TRUE(contains(refusal_of(std::string_view("{}\n\0{}", 6)), "line 2, column 1: a NUL byte"));
  EXPECT_NO_THROW(parse("{} \n\t\r\n"));
}

TEST(ParseJson, RefusesInvalidUtf8) {
  for (const std::string_view bytes : {"\x80",              // a continuation byte alone
                                       "\xC3",              // a sequence cut off by the quote
                                       "\xC0\xAF",          // '/' written too long
                                       "\xE0\x80\xAF",      // and longer
                                       "\xED\xA0\x80",      // a surrogate
                                       "\xF4\x90\x80\x80",  // beyond U+10FFFF
                                       "\xF8\x88\x80\x80\x80", "\xFF", "\xFE"}) {
    EXPECT_TRUE(contains(refusal_of(fmt::format("\"{}\"", bytes)), "line 1, column "));
    EXPECT_TRUE(contains(refusal_of(fmt::format("{{\"{}\":1}}", bytes)), "line 1, column "));
  }
  EXPECT_EQ(parse("\"\xF4\x8F\xBF\xBF\"").get<std::string>(), "\xF4\x8F\xBF\xBF");  // U+10FFFF itself
}

TEST(ParseJson, NamesLineAndColumn) {
  EXPECT_TRUE(contains(refusal_of("{\n  \"a\": 1,\n  \"b\": oops\n}"), "line 3, column 8: "));
  EXPECT_TRUE(contains(refusal_of("?"), "line 1, column 1: "));
  EXPECT_TRUE(contains(refusal_of("[1,\n2\n"), "line 3, column 1: "));  // where the text ends too early
}

TEST(ParseJson, TheErrorHasTheCallersKind) {
  for (const ErrorKind kind : {ErrorKind::kRequest, ErrorKind::kCheckpoint, ErrorKind::kUsage}) {
    error_of(kind, [&] { parse_json("{", "x", kind); });
    error_of(kind, [&] { parse_json(R"({"a":1,"a":1})", "x", kind); });
    error_of(kind, [&] { parse_json(std::string(100, '['), "x", kind); });
    error_of(kind, [&] { parse_json("1e999", "x", kind); });
  }
}

TEST(ReadTextFile, ReadsAllBytes) {
  const TempFolder folder;
  const std::string text = "a\0b\r\n" + std::string(200'000, 'x');
  const std::string path = folder.write("t", text);
  EXPECT_EQ(read_text_file(path, 1 << 20, ErrorKind::kConfig), text);
  EXPECT_EQ(read_text_file(folder.write("empty", ""), 0, ErrorKind::kConfig), "");
}

TEST(ReadTextFile, KeepsToTheLimit) {
  const TempFolder folder;
  const std::string path = folder.write("t", std::string(100, 'x'));
  EXPECT_EQ(read_text_file(path, 100, ErrorKind::kConfig).size(), 100U);
  const std::string message =
      error_of(ErrorKind::kConfig, [&] { read_text_file(path, 99, ErrorKind::kConfig); });
  EXPECT_TRUE(contains(message, {path, "at most 99 bytes"}));
}

TEST(ReadTextFile, NamesWhatCannotBeRead) {
  const TempFolder folder;
  const auto read = [](const std::string& path) {
    return error_of(ErrorKind::kIo, [&] { read_text_file(path, 100, ErrorKind::kConfig); });
  };
  EXPECT_TRUE(contains(read(folder.path("absent")), {folder.path("absent"), "No such file"}));
  EXPECT_TRUE(contains(read(folder.path()), {folder.path(), "a folder"}));
}

TEST(ReadJsonFile, NamesThePath) {
  const TempFolder folder;
  EXPECT_EQ(read_json_file(folder.write("good.json", "[1]"), 100, ErrorKind::kConfig)[0], 1);
  const std::string bad = folder.write("bad.json", "[\n1 1]");
  const std::string message =
      error_of(ErrorKind::kConfig, [&] { read_json_file(bad, 100, ErrorKind::kConfig); });
  EXPECT_TRUE(contains(message, {bad, "line 2, column 3"}));
}

// Each of these took a time that grew with the square of its size.
TEST(ParseJson, ManySmallValuesTakeNoLongerThanTheirBytes) {
  std::string list = "[{}";
  for (int i = 0; i < 500'000; ++i) list += i % 2 == 0 ? ",{}" : ",[]";
  EXPECT_EQ(parse_json(list + "]", "list", ErrorKind::kIo).size(), 500'001U);
  std::string object = "{\"a\":1";
  for (int i = 0; i < 4096; ++i) object += fmt::format(",\"{}\":1", i);
  EXPECT_NO_THROW(parse_json(object + "}", "object", ErrorKind::kIo));
  EXPECT_THROW(parse_json(object + "}", "object", ErrorKind::kRequest), Error);
}

}  // namespace
}  // namespace hadal
