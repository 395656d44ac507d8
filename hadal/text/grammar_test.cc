#include "hadal/text/grammar.h"

#include <random>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/text/text_cases.h"

namespace hadal::text {
namespace {

using Kind = Grammar::Kind;

const Tokenizer& tiny_chat() {
  static const Tokenizer tokenizer = Tokenizer::load(kTinyChat);
  return tokenizer;
}

std::vector<uint32_t> mask_of(Grammar& grammar) {
  std::vector<uint32_t> mask((static_cast<size_t>(tiny_chat().vocab_size()) + 31) / 32 + 3, ~0U);
  grammar.mask(mask);
  return mask;
}

bool is_set(const std::vector<uint32_t>& mask, int32_t id) {
  return (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
}

// Draws among the allowed ids until the grammar is finished or the answer is long.
std::string sample(Grammar& grammar, std::mt19937& random, int max_tokens) {
  std::vector<int32_t> answer;
  const int32_t eos = *tiny_chat().eos_token_id();
  while (!grammar.is_finished() && static_cast<int>(answer.size()) < max_tokens) {
    const std::vector<uint32_t> mask = mask_of(grammar);
    std::vector<int32_t> allowed;
    for (int32_t id = 0; id < tiny_chat().vocab_size(); ++id) {
      if (is_set(mask, id)) allowed.push_back(id);
    }
    if (allowed.empty()) ADD_FAILURE() << "nothing is allowed";
    if (allowed.empty()) break;
    const int32_t id = allowed[random() % allowed.size()];
    grammar.accept(id);
    if (id == eos) break;
    answer.push_back(id);
  }
  return tiny_chat().decode(answer, false);
}

bool accepts(Kind kind, const std::string& source, const std::string& text) {
  Grammar grammar(tiny_chat(), kind, source);
  for (const int32_t id : tiny_chat().encode(text)) {
    if (!is_set(mask_of(grammar), id)) return false;
    grammar.accept(id);
  }
  return is_set(mask_of(grammar), *tiny_chat().eos_token_id());
}

TEST(Grammar, AllowsWhatTheGrammarAllows) {
  EXPECT_TRUE(accepts(Kind::kRegex, "[a-c]+[0-9]", "abc7"));
  EXPECT_FALSE(accepts(Kind::kRegex, "[a-c]+[0-9]", "abd7"));
  EXPECT_FALSE(accepts(Kind::kRegex, "[a-c]+[0-9]", "abc"));
  EXPECT_TRUE(accepts(Kind::kRegex, "Grüße|中文", "中文"));
  EXPECT_TRUE(accepts(Kind::kLark, "start: \"yes\" | \"no\"", "no"));
  EXPECT_FALSE(accepts(Kind::kLark, "start: \"yes\" | \"no\"", "maybe"));
  const std::string schema = R"({"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],)"
                             R"("additionalProperties":false})";
  EXPECT_TRUE(accepts(Kind::kJsonSchema, schema, R"({"n": 12})"));
  EXPECT_FALSE(accepts(Kind::kJsonSchema, schema, R"({"n": "12"})"));
  EXPECT_FALSE(accepts(Kind::kJsonSchema, schema, R"({"m": 12})"));
}

TEST(Grammar, ACopyGoesItsOwnWay) {
  Grammar grammar(tiny_chat(), Kind::kRegex, "cat|dog");
  const auto ids = [](const char* text) { return tiny_chat().encode(text); };
  Grammar early = grammar.copy();
  for (const int32_t id : ids("cat")) grammar.accept(id);
  EXPECT_TRUE(is_set(mask_of(grammar), *tiny_chat().eos_token_id()));
  EXPECT_EQ(mask_of(early), [&] {
    Grammar fresh(tiny_chat(), Kind::kRegex, "cat|dog");
    return mask_of(fresh);
  }());
  for (const int32_t id : ids("dog")) early.accept(id);
  Grammar late = early.copy();
  EXPECT_TRUE(is_set(mask_of(late), *tiny_chat().eos_token_id()));
}

TEST(Grammar, SampledAnswersFitTheSchema) {
  const std::string schema =
      R"({"type":"object","properties":{"kind":{"enum":["cat","dog"]},"age":{"type":"integer","minimum":0,"maximum":30},)"
      R"("tags":{"type":"array","items":{"type":"string","maxLength":5},"maxItems":2},"ok":{"type":"boolean"}},)"
      R"("required":["kind","age","tags","ok"],"additionalProperties":false})";
  std::mt19937 random(5);
  int finished = 0;
  for (int round = 0; round < 20; ++round) {
    Grammar grammar(tiny_chat(), Kind::kJsonSchema, schema);
    const std::string answer = sample(grammar, random, 400);
    if (!grammar.is_finished()) continue;  // it likes whitespace
    ++finished;
    const json value = parse_json(answer, "answer", ErrorKind::kRequest);
    EXPECT_TRUE(value["kind"] == "cat" || value["kind"] == "dog") << value;
    EXPECT_LE(value["age"].get<int>(), 30);
    EXPECT_LE(value["tags"].size(), 2U);
    EXPECT_TRUE(value["ok"].is_boolean());
  }
  EXPECT_GT(finished, 0);
}

TEST(Grammar, EndsWithTheEndToken) {
  Grammar grammar(tiny_chat(), Kind::kRegex, "ab");
  const int32_t eos = *tiny_chat().eos_token_id();
  EXPECT_FALSE(grammar.is_finished());
  EXPECT_FALSE(is_set(mask_of(grammar), eos));
  for (const int32_t id : tiny_chat().encode("ab")) grammar.accept(id);
  const std::vector<uint32_t> mask = mask_of(grammar);
  EXPECT_TRUE(is_set(mask, eos));
  for (int32_t id = 0; id < tiny_chat().vocab_size(); ++id) EXPECT_EQ(is_set(mask, id), id == eos);
  EXPECT_EQ(mask[mask.size() - 2], 0U);  // beyond the vocabulary
  grammar.accept(eos);
  EXPECT_TRUE(grammar.is_finished());
}

TEST(Grammar, NeverAllowsSpecialTokens) {
  Grammar grammar(tiny_chat(), Kind::kRegex, "(.|\\n)*");
  const std::vector<uint32_t> mask = mask_of(grammar);
  for (const char* token : {"<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>"}) {
    const auto id = tiny_chat().token_id(token);
    EXPECT_FALSE(id && is_set(mask, *id)) << token;
  }
}

TEST(Grammar, RefusesTokensThatAreNotAllowed) {
  Grammar grammar(tiny_chat(), Kind::kRegex, "[0-9]+");
  EXPECT_THROW(grammar.accept(tiny_chat().encode("x").front()), Error);
  EXPECT_THROW(grammar.accept(-1), Error);
}

// Fails closed: never an unconstrained answer, never a crash.
TEST(Grammar, RefusesBadAndHostileSources) {
  const auto nest = [](const std::string& open, const std::string& close, int n) {
    std::string text;
    for (int i = 0; i < n; ++i) text += open;
    for (int i = 0; i < n; ++i) text += close;
    return text;
  };
  const std::vector<std::pair<Kind, std::string>> bad = {
      {Kind::kJsonSchema, ""},
      {Kind::kJsonSchema, "{"},
      {Kind::kJsonSchema, R"({"type":"nonsense"})"},
      {Kind::kJsonSchema, R"({"$ref":"#/nowhere"})"},
      {Kind::kJsonSchema, R"({"$ref":"https://example.org/schema.json"})"},
      {Kind::kJsonSchema, R"({"type":"string","pattern":"("})"},
      {Kind::kJsonSchema, nest(R"({"items":)", "}", 100000)},
      {Kind::kJsonSchema, nest("[", "]", 100000)},
      {Kind::kRegex, "("},
      {Kind::kRegex, nest("(", ")", 100000)},
      {Kind::kRegex, "(?=a)b"},
      {Kind::kRegex, std::string(2 << 20, 'a')},
      {Kind::kLark, ""},
      {Kind::kLark, "start: undefined_rule"},
      {Kind::kLark, "start: " + nest("(", ")", 100000)},
      {Kind::kLark, "start: /(/"},
      {Kind::kLark, "start: \xFF"},
  };
  for (const auto& [kind, source] : bad) {
    std::string message;
    std::thread([&, kind = kind, &source = source] {
      try {
        const Grammar grammar(tiny_chat(), kind, source);
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::kRequest);
        message = e.what();
      }
    }).join();
    EXPECT_NE(message, "") << source.substr(0, 80);
  }
}

// Whatever numbers a schema has, it is compiled or refused.
TEST(Grammar, SurvivesExtremeNumbers) {
  const std::vector<std::string> numbers = {"0",
                                            "-0.0",
                                            "1",
                                            "-1",
                                            "0.1",
                                            "-1e-300",
                                            "1e300",
                                            "-1e300",
                                            "9007199254740993",
                                            "9223372036854775807",
                                            "9223372036854775808",
                                            "-9223372036854775807",
                                            "-9223372036854775808",
                                            "-9223372036854775809",
                                            "18446744073709551616",
                                            "-1e19",
                                            "1e18",
                                            "-1e18",
                                            "123456789.123456789"};
  int compiled = 0, refused = 0;
  const auto compile = [&](const std::string& schema) {
    for (const std::string& source : {schema, "start: %json " + schema}) {
      try {
        const Grammar grammar(tiny_chat(), source == schema ? Kind::kJsonSchema : Kind::kLark, source);
        ++compiled;
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::kRequest) << e.what();
        ++refused;
      }
    }
  };
  for (const std::string& a : numbers) {
    compile(R"({"enum":[)" + a + "]}");
    for (const std::string type : {"integer", "number"}) {
      compile(R"({"type":")" + type + R"(","multipleOf":)" + a + "}");
      for (const std::string& b : numbers) {
        compile(R"({"type":")" + type + R"(","minimum":)" + a + R"(,"maximum":)" + b + "}");
        compile(R"({"type":")" + type + R"(","exclusiveMinimum":)" + a + R"(,"exclusiveMaximum":)" + b + "}");
      }
    }
  }
  EXPECT_GT(compiled, 0);
  EXPECT_GT(refused, 0);
  EXPECT_THROW(Grammar(tiny_chat(), Kind::kJsonSchema, R"({"const":-9223372036854775808})"), Error);
  EXPECT_THROW(Grammar(tiny_chat(), Kind::kLark, R"(start: %json {"const":-9223372036854775808})"), Error);
}

// These are worked out only as far as an answer gets; whether they are refused is the library's business.
TEST(Grammar, IsNotHeldUpByHugeRepetitions) {
  const std::vector<std::pair<Kind, std::string>> huge = {
      {Kind::kJsonSchema, R"x({"type":"string","pattern":"(((a{1000}){1000}){1000})"})x"},
      {Kind::kJsonSchema, R"({"type":"string","minLength":1000000000})"},
      {Kind::kRegex, "a{1000}{1000}{1000}"},
      {Kind::kRegex, "(a|a|ab)*(a*)*(a*)*b{0,100000}"},
      {Kind::kLark, "start: a a a a\na: b b b b\nb: c c c c\nc: /(x*)*/"},
  };
  for (const auto& [kind, source] : huge) {
    try {
      Grammar grammar(tiny_chat(), kind, source);
      for (int i = 0; i < 10; ++i) {
        const std::vector<uint32_t> mask = mask_of(grammar);
        int32_t id = 0;
        while (id < tiny_chat().vocab_size() && !is_set(mask, id)) ++id;
        grammar.accept(id);
      }
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kRequest) << e.what();
    }
  }
}

}  // namespace
}  // namespace hadal::text
