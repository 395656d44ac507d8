#include "hadal/text/messages.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/text/text_cases.h"

namespace hadal::text {
namespace {

constexpr TemplateTraits kV3{.tool_format = ToolFormat::kV3};
constexpr TemplateTraits kV31{
    .tool_format = ToolFormat::kV31, .renders_tools = true, .text_with_calls = true};

json parsed(const std::string& text) {
  return parse_json(text, "test", ErrorKind::kRequest);
}

json normal(const std::string& messages, const TemplateTraits& traits = kV31) {
  return normalise_messages(parsed(messages), traits);
}

// The path that the refusal begins with.
std::string refused(const std::string& messages) {
  try {
    normal(messages);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kRequest);
    const std::string text = e.what();
    return text.substr(0, text.find('\n'));
  }
  return "accepted";
}

TEST(NormaliseMessages, LeavesPlainMessagesAlone) {
  const std::string messages = R"([{"role":"system","content":"S"},{"role":"user","content":"U","name":"Ann"},
      {"role":"assistant","content":"A","prefix":true}])";
  EXPECT_EQ(normal(messages), parsed(messages));
}

TEST(NormaliseMessages, JoinsTextParts) {
  EXPECT_EQ(normal(R"([{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
                       {"role":"assistant","content":[]}])"),
            parsed(R"([{"role":"user","content":"a\nb"},{"role":"assistant","content":""}])"));
}

TEST(NormaliseMessages, TranslatesOldForms) {
  EXPECT_EQ(normal(R"([{"role":"developer","content":"D"},{"role":"user","content":"U"},
      {"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},
      {"role":"function","name":"f","content":"1"}])"),
            parsed(R"([{"role":"system","content":"D"},{"role":"user","content":"U"},
      {"role":"assistant","content":null,"tool_calls":[{"id":"call_2","type":"function",
        "function":{"name":"f","arguments":"{}"}}]},
      {"role":"tool","name":"f","content":"1","tool_call_id":"call_2"}])"));
}

TEST(NormaliseMessages, FillsInCalls) {
  EXPECT_EQ(
      normal(R"([{"role":"assistant","tool_calls":[{"id":"x","function":{"name":"f","arguments":{"a":[1]}}},
      {"id":"y","type":"function","function":{"name":"g"}},
      {"id":"z","type":"function","function":{"name":"h","arguments":""}}]},
      {"role":"tool","tool_call_id":"x","content":null}])"),
      parsed(R"([{"role":"assistant","content":null,"tool_calls":[
      {"id":"x","function":{"name":"f","arguments":"{\"a\":[1]}"},"type":"function"},
      {"id":"y","type":"function","function":{"name":"g","arguments":"{}"}},
      {"id":"z","type":"function","function":{"name":"h","arguments":"{}"}}]},
      {"role":"tool","tool_call_id":"x","content":""}])"));
  EXPECT_EQ(
      normal(
          R"([{"role":"assistant","content":"A","tool_calls":[]},{"role":"assistant","tool_calls":null}])"),
      parsed(R"([{"role":"assistant","content":"A"},{"role":"assistant","content":""}])"));
}

TEST(NormaliseMessages, GivesTemplatesTheArgumentsTheyRead) {
  const TemplateTraits traits{.tool_format = ToolFormat::kV31, .arguments_as_object = true};
  EXPECT_EQ(normal(R"([{"role":"assistant","tool_calls":[
      {"type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}},
      {"type":"function","function":{"name":"g","arguments":"no JSON"}}]}])",
                   traits),
            parsed(R"([{"role":"assistant","content":null,"tool_calls":[
      {"type":"function","function":{"name":"f","arguments":{"a":1}}},
      {"type":"function","function":{"name":"g","arguments":"no JSON"}}]}])"));
}

constexpr const char* kTextAndCall =
    R"([{"role":"assistant","content":"Let me see.","reasoning_content":"Hm.","tool_calls":[
    {"type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"1"}])";

TEST(NormaliseMessages, LosesNeitherTextNorCalls) {
  EXPECT_EQ(normal(kTextAndCall, kV31), parsed(R"([{"role":"assistant","content":"Let me see.","tool_calls":[
      {"type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"1"}])"));
  EXPECT_EQ(
      normal(kTextAndCall, kV3),
      parsed(
          R"([{"role":"assistant","content":"Let me see."},{"role":"assistant","content":null,"tool_calls":[
      {"type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"1"}])"));
  EXPECT_EQ(normal(kTextAndCall, {}), parsed(R"([{"role":"assistant","content":
      "Let me see.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
      {"role":"user","content":"<｜tool▁output▁begin｜>1<｜tool▁output▁end｜>"}])"));
}

TEST(NormaliseMessages, KeepsThoughtsThatTheTemplateReads) {
  const TemplateTraits reads{.keeps_reasoning = true};
  for (const char* key : {"reasoning", "reasoning_content"}) {
    const json messages = {{{"role", "assistant"}, {"content", "A"}, {key, "T"}}};
    EXPECT_EQ(normalise_messages(messages, reads),
              parsed(R"([{"role":"assistant","content":"A","reasoning_content":"T"}])"));
    EXPECT_EQ(normalise_messages(messages, kV3), parsed(R"([{"role":"assistant","content":"A"}])"));
  }
  EXPECT_EQ(normal(R"([{"role":"assistant","content":"A","reasoning_content":null}])", reads),
            parsed(R"([{"role":"assistant","content":"A"}])"));
}

TEST(NormaliseMessages, NamesThePathOfWhatItRefuses) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"7", "messages"},
      {"[]", "messages"},
      {R"([{"role":"user","content":"x"}, 3])", "messages[1]"},
      {R"([{"content":"x"}])", "messages[0].role"},
      {R"([{"role":"User","content":"x"}])", "messages[0].role"},
      {R"([{"role":["user"],"content":"x"}])", "messages[0].role"},
      {R"([{"role":"user"}])", "messages[0].content"},
      {R"([{"role":"user","content":null}])", "messages[0].content"},
      {R"([{"role":"assistant","content":{"text":"x"}}])", "messages[0].content"},
      {R"([{"role":"user","content":["x"]}])", "messages[0].content[0]"},
      {R"([{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{}}]}])",
       "messages[0].content[1].type"},
      {R"([{"role":"user","content":[{"text":"x"}]}])", "messages[0].content[0].type"},
      {R"([{"role":"user","content":[{"type":"text","text":1}]}])", "messages[0].content[0].text"},
      {R"([{"role":"assistant","tool_calls":{}}])", "messages[0].tool_calls"},
      {R"([{"role":"assistant","tool_calls":[1]}])", "messages[0].tool_calls[0]"},
      {R"([{"role":"assistant","tool_calls":[{"type":"custom"}]}])", "messages[0].tool_calls[0].type"},
      {R"([{"role":"assistant","tool_calls":[{}]}])", "messages[0].tool_calls[0].function"},
      {R"([{"role":"assistant","tool_calls":[{"function":{"name":""}}]}])",
       "messages[0].tool_calls[0].function.name"},
      {R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":1}}]}])",
       "messages[0].tool_calls[0].function.arguments"},
      {R"([{"role":"assistant","function_call":{"arguments":"{}"}}])", "messages[0].function_call.name"},
      {R"([{"role":"assistant","content":"x","reasoning":1}])", "messages[0].reasoning"},
  };
  for (const auto& [messages, path] : cases) EXPECT_EQ(refused(messages), path) << messages;
}

// Every template of the family renders what comes out, calls included.
TEST(NormaliseMessages, MakesWhatTheTemplatesRender) {
  const json messages = parsed(kTextAndCall);
  const auto check = [&](const ChatTemplate& chat_template) {
    const std::string text =
        chat_template.render(normalise_messages(messages, find_traits(chat_template)), {});
    for (const char* part : {"Let me see.", "f", "<｜tool▁sep｜>", "{}", "<｜tool▁output▁begin｜>1"}) {
      EXPECT_TRUE(contains(text, part)) << part << " in " << text;
    }
  };
  check(ChatTemplate::load(kTinyChat));
  for (const char* name : {"thinking.jinja", "v2.jinja"}) {
    const TemplateFolder folder(
        read_text_file(std::string(kCases) + "templates/" + name, 1 << 20, ErrorKind::kIo));
    check(ChatTemplate::load(folder.path()));
  }
}

}  // namespace
}  // namespace hadal::text
