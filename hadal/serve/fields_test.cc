#include "hadal/serve/fields.h"

#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

constexpr FieldRule kRules[] = {{"flag", FieldType::kBoolean},      {"count", FieldType::kInteger, 1, 10},
                                {"wide", FieldType::kInteger},      {"share", FieldType::kNumber, 0, 1},
                                {"name", FieldType::kString, 0, 4}, {"list", FieldType::kArray, 1, 3},
                                {"inner", FieldType::kObject},      {"any", FieldType::kAny}};

// 200, or the status that the object is refused with.
int status_of(const std::string& text) {
  try {
    const json object = parse_body(text);
    FieldReader(object, kRules);
  } catch (const ApiError& e) {
    return e.status();
  }
  return 200;
}

TEST(FieldReader, ReadsWhatTheRulesSay) {
  const json object = json::parse(
      R"({"flag":true,"count":10,"wide":18446744073709551615,"share":0.5,"name":"abcd","list":["a","b"]})");
  const FieldReader fields(object, kRules);
  EXPECT_EQ(fields.boolean("flag"), true);
  EXPECT_EQ(fields.integer("count"), 10);
  EXPECT_EQ(static_cast<uint64_t>(*fields.integer("wide")), UINT64_MAX);
  EXPECT_EQ(fields.number("share"), 0.5);
  EXPECT_EQ(fields.string("name"), "abcd");
  EXPECT_EQ(fields.strings("list"), (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(fields.has("inner"));
}

TEST(FieldReader, NullIsAbsentAndUnknownIsLeftAlone) {
  const json object = json::parse(R"({"count":null,"other":[1,{"x":null}]})");
  const FieldReader fields(object, kRules);
  EXPECT_EQ(fields.integer("count"), std::nullopt);
  EXPECT_FALSE(fields.has("count"));
}

TEST(FieldReader, RefusesOtherTypesAndRanges) {
  for (const char* text :
       {R"({"flag":1})", R"({"count":"1"})", R"({"count":1.5})", R"({"count":true})", R"({"count":[]})",
        R"({"share":"x"})", R"({"name":5})", R"({"list":{}})", R"({"inner":[]})", R"({"wide":9.3e18})",
        R"({"wide":1e308})", R"({"wide":-1e308})", R"({"wide":18446744073709551616})"})
    EXPECT_EQ(status_of(text), 400) << text;
  for (const char* text :
       {R"({"count":0})", R"({"count":11})", R"({"count":-9223372036854775808})",
        R"({"count":18446744073709551615})", R"({"share":-0.1})", R"({"share":1.0001})", R"({"share":1e308})",
        R"({"name":"abcde"})", R"({"list":[]})", R"({"list":[1,2,3,4]})"})
    EXPECT_EQ(status_of(text), 422) << text;
  for (const char* text : {R"({"count":1.0})", R"({"count":1})", R"({"share":0})", R"({"share":1})",
                           R"({"name":""})", R"({"any":[{}]})", R"({"wide":-9223372036854775808})"})
    EXPECT_EQ(status_of(text), 200) << text;
}

TEST(FieldReader, NamesTheField) {
  const json object = json::parse(R"({"count":11})");
  try {
    FieldReader(object, kRules, "outer.");
    FAIL();
  } catch (const ApiError& e) {
    EXPECT_EQ(e.param(), "outer.count");
    EXPECT_EQ(std::string(e.what()), "outer.count: expected 1 to 10, found 11");
  }
}

TEST(FieldReader, ListsOfIntegersHaveARangeToo) {
  const auto status = [](const std::string& list) {
    const json object = json::parse(R"({"list":)" + list + "}");
    try {
      FieldReader(object, kRules).integers("list", 0, 100);
    } catch (const ApiError& e) {
      return e.status();
    }
    return 200;
  };
  EXPECT_EQ(status("[0,100]"), 200);
  EXPECT_EQ(status("[101]"), 422);
  EXPECT_EQ(status("[-1]"), 422);
  EXPECT_EQ(status("[18446744073709551615]"), 422);
  EXPECT_EQ(status("[1.0]"), 400);
  EXPECT_EQ(status("[null]"), 400);
}

TEST(ParseBody, TakesObjectsOnly) {
  for (const char* text : {"", "[]", "1", "null", "{", "{} {}", "{\"a\":1,\"a\":2}", "{\"a\":\"\xff\"}",
                           R"({"a":"\ud800"})", R"({"a":1e999})", R"({"a":NaN})"})
    EXPECT_EQ(status_of(text), 400) << text;
  const std::string deep = std::string(100'000, '[');
  EXPECT_EQ(status_of("{\"a\":" + deep), 400);
  EXPECT_EQ(status_of("{}"), 200);
}

}  // namespace
}  // namespace hadal::serve
