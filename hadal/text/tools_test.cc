#include "hadal/text/tools.h"

#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/text/grammar.h"
#include "hadal/text/text_cases.h"

namespace hadal::text {
namespace {

const std::string kBegins = "<｜tool▁calls▁begin｜>", kEnds = "<｜tool▁calls▁end｜>";
const std::string kBegin = "<｜tool▁call▁begin｜>", kEnd = "<｜tool▁call▁end｜>", kSep = "<｜tool▁sep｜>";

std::string call(ToolFormat format, const std::string& name, const std::string& arguments) {
  return kBegin +
         (format == ToolFormat::kV3 ? fmt::format("function{}{}\n```json\n{}\n```", kSep, name, arguments)
                                    : name + kSep + arguments) +
         kEnd;
}

json parsed(const std::string& text) {
  return parse_json(text, "test", ErrorKind::kRequest);
}

json tool(const std::string& name, const std::string& parameters = "null") {
  const json function = {{"name", name}, {"parameters", parsed(parameters)}};
  return {{"type", "function"}, {"function", function}};
}

json weather_and_time() {
  return json::array({tool("get_weather", R"({"type":"object","properties":{"city":{"type":"string"},
      "days":{"type":"integer","minimum":1,"maximum":9}},"required":["city"],"additionalProperties":false})"),
                      tool("time", R"({"properties":{},"additionalProperties":false})")});
}

const Tokenizer& tiny_chat() {
  static const Tokenizer tokenizer = Tokenizer::load(kTinyChat);
  return tokenizer;
}

// tiny-chat's tokenizer without the tool tokens, as V2's is: tags are ordinary text.
const Tokenizer& without_tags() {
  static const Tokenizer tokenizer = [] {
    json file = read_json_file(std::string(kTinyChat) + "/tokenizer.json", int64_t{64} << 20, ErrorKind::kIo);
    int number = 0;
    for (json& token : file["added_tokens"]) {
      const auto content = token["content"].get<std::string>();
      if (contains(content, "tool")) token["content"] = fmt::format("<｜renamed {}｜>", number++);
    }
    const TemplateFolder folder("x");
    std::ofstream(folder.path() + "/tokenizer.json") << file.dump();
    return Tokenizer::load(folder.path());
  }();
  return tokenizer;
}

bool is_set(const std::vector<uint32_t>& mask, int32_t id) {
  return (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
}

std::vector<uint32_t> mask_of(Grammar& grammar, const Tokenizer& tokenizer) {
  std::vector<uint32_t> mask((static_cast<size_t>(tokenizer.vocab_size()) + 31) / 32);
  grammar.mask(mask);
  return mask;
}

bool accepts(const std::string& source, const std::string& text, const Tokenizer& tokenizer) {
  Grammar grammar(tokenizer, Grammar::Kind::kLark, source);
  for (const int32_t id : tokenizer.encode(text)) {
    if (!is_set(mask_of(grammar, tokenizer), id)) return false;
    grammar.accept(id);
  }
  return is_set(mask_of(grammar, tokenizer), *tokenizer.eos_token_id());
}

const ToolChoice kRequired{.kind = ToolChoice::Kind::kRequired};

// Both formats, tags that are tokens and tags that are text.
template <class Test>
void for_each_grammar(const json& tools, const ToolChoice& choice, const Test& test) {
  for (const ToolFormat format : {ToolFormat::kV3, ToolFormat::kV31}) {
    for (const Tokenizer* tokenizer : {&tiny_chat(), &without_tags()}) {
      const std::string source = tool_grammar(format, tools, choice, *tokenizer);
      SCOPED_TRACE(source);
      const std::string between = format == ToolFormat::kV3 ? "\n" : "";
      test(format, between, [&](const std::string& text) { return accepts(source, text, *tokenizer); });
    }
  }
}

TEST(ToolGrammar, DemandsCalls) {
  for_each_grammar(
      weather_and_time(), kRequired, [](ToolFormat format, const auto& between, const auto& takes) {
        const std::string weather = call(format, "get_weather", R"({"city": "Köln ```", "days": 3})");
        const std::string time = call(format, "time", "{}");
        EXPECT_TRUE(takes(kBegins + weather + kEnds));
        EXPECT_TRUE(takes("\n\n" + kBegins + time + kEnds));
        EXPECT_TRUE(takes(kBegins + time + between + weather + between + time + kEnds));
        EXPECT_TRUE(takes(kBegins + call(format, "get_weather", "{\n  \"city\":\"a\\\"}\"\n}") + kEnds));
        EXPECT_FALSE(takes(""));
        EXPECT_FALSE(takes("Hello"));
        EXPECT_FALSE(takes("Hello" + kBegins + time + kEnds));
        EXPECT_FALSE(takes(kBegins + kEnds));
        EXPECT_FALSE(takes(kBegins + time));
        EXPECT_FALSE(takes(kBegins + time + kEnds + "Hello"));
        EXPECT_FALSE(takes(kBegins + call(format, "tim", "{}") + kEnds));
        EXPECT_FALSE(takes(kBegins + call(format, "get_weather", "{}") + kEnds));
        EXPECT_FALSE(takes(kBegins + call(format, "get_weather", R"({"city": "a", "days": 10})") + kEnds));
        EXPECT_FALSE(takes(kBegins + call(format, "get_weather", R"({"city": "a", "more": 1})") + kEnds));
        EXPECT_FALSE(takes(kBegins + call(format, "time", R"({"city": "a"})") + kEnds));
        EXPECT_FALSE(takes(kBegins + call(format, "time", "null") + kEnds));
      });
}

TEST(ToolGrammar, DemandsOneCall) {
  const ToolChoice one{.kind = ToolChoice::Kind::kRequired, .parallel = false};
  for_each_grammar(weather_and_time(), one, [](ToolFormat format, const auto& between, const auto& takes) {
    const std::string time = call(format, "time", "{}");
    EXPECT_TRUE(takes(kBegins + time + kEnds));
    EXPECT_FALSE(takes(kBegins + time + between + time + kEnds));
  });
}

TEST(ToolGrammar, DemandsTheNamedFunction) {
  const ToolChoice named{.kind = ToolChoice::Kind::kNamed, .name = "time"};
  for_each_grammar(weather_and_time(), named, [](ToolFormat format, const auto& between, const auto& takes) {
    const std::string time = call(format, "time", "{}");
    EXPECT_TRUE(takes(kBegins + time + kEnds));
    EXPECT_FALSE(takes(kBegins + time + between + time + kEnds));
    EXPECT_FALSE(takes(kBegins + call(format, "get_weather", R"({"city": "a"})") + kEnds));
  });
}

TEST(ToolGrammar, AllowsTextAndCalls) {
  for (const ToolFormat format : {ToolFormat::kV3, ToolFormat::kV31}) {
    const std::string source = tool_grammar(format, weather_and_time(), {}, tiny_chat());
    const std::string time = call(format, "time", "{}");
    EXPECT_TRUE(accepts(source, "Hello {}<b>\n", tiny_chat()));
    EXPECT_TRUE(accepts(source, kBegins + time + kEnds, tiny_chat()));
    EXPECT_TRUE(accepts(source, "Let me see.\n" + kBegins + time + kEnds, tiny_chat()));
    EXPECT_FALSE(accepts(source, "Hello" + kEnd, tiny_chat()));
    EXPECT_FALSE(accepts(source, kBegins + call(format, "time", "[]") + kEnds, tiny_chat()));
    EXPECT_EQ(tool_grammar(format, weather_and_time(), {}, without_tags()), "");
    EXPECT_EQ(tool_grammar(format, weather_and_time(), {.kind = ToolChoice::Kind::kNone}, tiny_chat()), "");
    EXPECT_EQ(tool_grammar(format, json::array(), {}, tiny_chat()), "");
  }
}

TEST(ToolGrammar, ReadsSchemas) {
  // References are within the schema; an object is demanded where no type is.
  const json refs = json::array({tool("f", R"({"$defs":{"n":{"enum":[1,"\u00fc\"\n</x>"]}},
      "properties":{"a":{"$ref":"#/$defs/n"}},"required":["a"],"additionalProperties":false})")});
  for_each_grammar(refs, kRequired, [](ToolFormat format, const auto&, const auto& takes) {
    EXPECT_TRUE(takes(kBegins + call(format, "f", R"({"a": 1})") + kEnds));
    EXPECT_TRUE(takes(kBegins + call(format, "f", R"({"a": "ü\"\n</x>"})") + kEnds));
    EXPECT_FALSE(takes(kBegins + call(format, "f", R"({"a": 2})") + kEnds));
  });
  // What the grammar does not know is an error for strict tools only.
  json odd = json::array({tool("f", R"({"type":"object","properties":{"a":{"not":{"type":"string"}}}})")});
  const auto source = [&] { return tool_grammar(ToolFormat::kV3, odd, kRequired, tiny_chat()); };
  EXPECT_NO_THROW(Grammar(tiny_chat(), Grammar::Kind::kLark, source()));
  odd[0]["function"]["strict"] = true;
  EXPECT_THROW(Grammar(tiny_chat(), Grammar::Kind::kLark, source()), Error);
}

TEST(ToolGrammar, TakesAsManyToolsAsThereMayBe) {
  json tools = json::array();
  for (int i = 0; i < 128; ++i)
    tools.push_back(tool(fmt::format("f-{}", i), weather_and_time()[0]["function"]["parameters"].dump()));
  const std::string source = tool_grammar(ToolFormat::kV3, tools, kRequired, tiny_chat());
  EXPECT_TRUE(
      accepts(source, kBegins + call(ToolFormat::kV3, "f-12", R"({"city": "a"})") + kEnds, tiny_chat()));
}

// Draws an answer as a model might, parsed; empty if it did not come to its end.
std::vector<ToolPiece> draw(const std::string& source, std::mt19937& random) {
  Grammar grammar(tiny_chat(), Grammar::Kind::kLark, source);
  ToolCallParser parser;
  std::vector<ToolPiece> pieces;
  for (int n = 0; n < 300; ++n) {
    const std::vector<uint32_t> mask = mask_of(grammar, tiny_chat());
    std::vector<int32_t> allowed;
    for (int32_t id = 0; id < tiny_chat().vocab_size(); ++id) {
      if (is_set(mask, id)) allowed.push_back(id);
    }
    if (allowed.empty()) ADD_FAILURE() << "nothing is allowed";
    if (allowed.empty()) break;
    // Ends are rare among the allowed tokens, but not for a model.
    const int32_t end = tiny_chat().encode(random() % 2 == 0 ? "\"" : "}").front();
    const int32_t id = is_set(mask, end) ? end : allowed[random() % allowed.size()];
    grammar.accept(id);
    if (id == *tiny_chat().eos_token_id()) return pieces;
    for (ToolPiece& piece : parser.push(tiny_chat().token_bytes(id))) pieces.push_back(std::move(piece));
  }
  return {};
}

TEST(ToolGrammar, SampledAnswersAreReadByTheParser) {
  std::mt19937 random(7);
  int calls = 0;
  for (int round = 0; round < 12; ++round) {
    const ToolFormat format = round % 2 == 0 ? ToolFormat::kV3 : ToolFormat::kV31;
    const std::string source = tool_grammar(format, weather_and_time(), kRequired, tiny_chat());
    std::string arguments;
    for (const ToolPiece& piece : draw(source, random)) {
      EXPECT_NE(piece.kind, ToolPiece::Kind::kText) << piece.text;
      if (piece.kind == ToolPiece::Kind::kCallBegin) {
        EXPECT_TRUE(piece.text == "time" || piece.text == "get_weather") << piece.text;
        arguments.clear();
      }
      if (piece.kind == ToolPiece::Kind::kArguments) arguments += piece.text;
      if (piece.kind == ToolPiece::Kind::kCallEnd) {
        EXPECT_TRUE(parsed(arguments).is_object()) << arguments;
        ++calls;
      }
    }
  }
  EXPECT_GT(calls, 0);
}

std::string refused(const std::string& tools) {
  try {
    normalise_tools(parsed(tools));
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kRequest);
    const std::string text = e.what();
    return text.substr(0, text.find('\n'));
  }
  return "accepted";
}

TEST(NormaliseTools, FillsInWhatTemplatesRelyOn) {
  EXPECT_EQ(normalise_tools(parsed(R"([{"type":"function","function":{"name":"A-z_09","strict":true}}])")),
            parsed(R"([{"type":"function","function":{"name":"A-z_09","strict":true,"description":"",
                       "parameters":{"type":"object","properties":{}}}}])"));
  EXPECT_EQ(normalise_tools(json()), json::array());
}

TEST(NormaliseTools, NamesThePathOfWhatItRefuses) {
  const auto function = [](const std::string& members) {
    return R"([{"type":"function","function":{)" + members + "}}]";
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{}", "tools"},
      {"[1]", "tools[0]"},
      {"[{}]", "tools[0].type"},
      {R"([{"type":"custom"}])", "tools[0].type"},
      {R"([{"type":"function"}])", "tools[0].function"},
      {function(""), "tools[0].function.name"},
      {function(R"("name":7)"), "tools[0].function.name"},
      {function(R"("name":"")"), "tools[0].function.name"},
      {function(R"("name":"a b")"), "tools[0].function.name"},
      {function(R"("name":"a\"b")"), "tools[0].function.name"},
      {function(R"("name":"wéather")"), "tools[0].function.name"},
      {function(R"("name":")" + std::string(65, 'a') + "\""), "tools[0].function.name"},
      {function(R"("name":"a","description":[])"), "tools[0].function.description"},
      {function(R"("name":"a","parameters":"{}")"), "tools[0].function.parameters"},
      {function(R"("name":"a","parameters":{"type":"array"})"), "tools[0].function.parameters.type"},
      {function(R"("name":"a","strict":1)"), "tools[0].function.strict"},
      {json::array({tool("a"), tool("a")}).dump(), "tools[1].function.name"},
  };
  for (const auto& [tools, path] : cases) EXPECT_EQ(refused(tools), path) << tools;
  json many = json::array();
  for (int i = 0; i < 129; ++i) many.push_back(tool(fmt::format("f{}", i)));
  EXPECT_EQ(refused(many.dump()), "tools");
  many.erase(0);
  EXPECT_EQ(refused(many.dump()), "accepted");
}

TEST(ReadToolChoice, ReadsAllForms) {
  using Kind = ToolChoice::Kind;
  const json tools = weather_and_time(), none = json::array();
  EXPECT_EQ(read_tool_choice(nullptr, tools).kind, Kind::kAuto);
  EXPECT_EQ(read_tool_choice(nullptr, none).kind, Kind::kNone);
  EXPECT_EQ(read_tool_choice("auto", nullptr).kind, Kind::kNone);
  EXPECT_EQ(read_tool_choice("auto", tools).kind, Kind::kAuto);
  EXPECT_EQ(read_tool_choice("none", tools).kind, Kind::kNone);
  EXPECT_EQ(read_tool_choice("required", tools).kind, Kind::kRequired);
  const ToolChoice named =
      read_tool_choice(parsed(R"({"type":"function","function":{"name":"time"}})"), tools);
  EXPECT_EQ(named.kind, Kind::kNamed);
  EXPECT_EQ(named.name, "time");
  for (const char* bad :
       {R"("any")", "1", "[]", "{}", R"({"type":"tool"})", R"({"type":"function"})",
        R"({"type":"function","function":{"name":"date"}})", R"({"type":"function","function":"time"})"}) {
    EXPECT_THROW(read_tool_choice(parsed(bad), tools), Error) << bad;
  }
  EXPECT_THROW(read_tool_choice("required", none), Error);
}

TEST(ToolsPrompt, DescribesToolsAndTheFormat) {
  json tools = weather_and_time();
  tools[0]["function"]["description"] = "Says what the weather will be.";
  const std::string v3 = tools_prompt(ToolFormat::kV3, tools), v31 = tools_prompt(ToolFormat::kV31, tools);
  for (const std::string& text : {v3, v31}) {
    for (const char* part : {"get_weather", "Says what the weather will be.", R"("maximum":9)", "time"}) {
      EXPECT_TRUE(contains(text, part)) << part;
    }
  }
  EXPECT_TRUE(contains(v3, kBegins + kBegin + "function" + kSep + "NAME\n```json\n{"));
  EXPECT_TRUE(contains(v31, kBegins + kBegin + "NAME" + kSep + "{"));
}

TEST(WithTools, AddsToTheFirstSystemMessage) {
  EXPECT_EQ(with_tools(parsed(R"([{"role":"user","content":"U"}])"), "P"),
            parsed(R"([{"role":"system","content":"P"},{"role":"user","content":"U"}])"));
  EXPECT_EQ(with_tools(parsed(R"([{"role":"user","content":"U"},{"role":"system","content":"S"},
                                  {"role":"system","content":"T"}])"),
                       "P"),
            parsed(R"([{"role":"user","content":"U"},{"role":"system","content":"S\n\nP"},
                       {"role":"system","content":"T"}])"));
  EXPECT_EQ(with_tools(parsed(R"([{"role":"system","content":""}])"), "P"),
            parsed(R"([{"role":"system","content":"P"}])"));
}

// V3's tokenizer: HADAL_TOKENIZER_CASES as in tokenizer_test.cc.
TEST(ToolGrammar, WorksWithTheFilesOfHadalTokenizerCases) {
  const char* root = std::getenv("HADAL_TOKENIZER_CASES");
  if (root == nullptr) GTEST_SKIP() << "HADAL_TOKENIZER_CASES is not set";
  for (const char* name : {"/v2", "/v3"}) {
    const Tokenizer tokenizer = Tokenizer::load(root + std::string(name));
    for (const ToolFormat format : {ToolFormat::kV3, ToolFormat::kV31}) {
      const std::string source = tool_grammar(format, weather_and_time(), kRequired, tokenizer);
      const std::string good = call(format, "get_weather", R"({"city": "Köln 中文", "days": 3})");
      EXPECT_TRUE(accepts(source, kBegins + good + kEnds, tokenizer)) << name << source;
      EXPECT_FALSE(accepts(source, kBegins + call(format, "time", R"({"a": 1})") + kEnds, tokenizer)) << name;
    }
  }
}

}  // namespace
}  // namespace hadal::text
