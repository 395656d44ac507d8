#include "hadal/text/template_traits.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/text/text_cases.h"

namespace hadal::text {
namespace {

TemplateTraits traits_of(const std::string& source) {
  const TemplateFolder folder(source);
  return find_traits(ChatTemplate::load(folder.path()));
}

std::string source_of(const std::string& name) {
  return read_text_file(std::string(kCases) + "templates/" + name, 1 << 20, ErrorKind::kIo);
}

TEST(TemplateTraits, KnowsTheTemplatesOfTheFamily) {
  const TemplateTraits tiny = find_traits(ChatTemplate::load(kTinyChat));
  EXPECT_EQ(tiny.tool_format, ToolFormat::kV3);
  EXPECT_FALSE(tiny.renders_tools);
  EXPECT_TRUE(tiny.text_with_calls);
  EXPECT_FALSE(tiny.arguments_as_object);
  EXPECT_FALSE(tiny.keeps_reasoning);
  EXPECT_EQ(tiny.thinking, Thinking::kModel);

  const TemplateTraits v31 = traits_of(source_of("thinking.jinja"));
  EXPECT_EQ(v31.tool_format, ToolFormat::kV31);
  EXPECT_TRUE(v31.renders_tools);
  EXPECT_TRUE(v31.text_with_calls);
  EXPECT_FALSE(v31.arguments_as_object);
  EXPECT_FALSE(v31.keeps_reasoning);
  EXPECT_EQ(v31.thinking, Thinking::kSwitch);

  const TemplateTraits v2 = traits_of(source_of("v2.jinja"));
  EXPECT_EQ(v2.tool_format, ToolFormat::kNone);
  EXPECT_FALSE(v2.renders_tools);
  EXPECT_FALSE(v2.text_with_calls);
  EXPECT_EQ(v2.thinking, Thinking::kModel);
}

// V3's file: a message with text has no calls.
TEST(TemplateTraits, SeesThatCallsGetLostBesideText) {
  const std::string calls =
      "{% for m in messages %}{% if m.content is none %}{% for t in m.tool_calls %}<｜tool▁call▁begin｜>"
      "{{ t.type + '<｜tool▁sep｜>' + t.function.name + '\\n' + t.function.arguments }}{% endfor %}"
      "{% else %}{{ m.content }}{% endif %}{% endfor %}";
  EXPECT_EQ(traits_of(calls).tool_format, ToolFormat::kV3);
  EXPECT_FALSE(traits_of(calls).text_with_calls);
}

TEST(TemplateTraits, SeesHowArgumentsArePrinted) {
  const auto with = [](const std::string& arguments) {
    return traits_of(
        "{% for m in messages %}{% for t in m.tool_calls or [] %}{{ t.function.name + '<｜tool▁sep｜>' + " +
        arguments + " }}{% endfor %}{% endfor %}");
  };
  EXPECT_FALSE(with("t.function.arguments").arguments_as_object);
  EXPECT_TRUE(with("t.function.arguments|tojson").arguments_as_object);
  EXPECT_TRUE(with("(t.function.arguments.items()|list|string)").arguments_as_object);
  EXPECT_EQ(with("t.function.arguments|tojson").tool_format, ToolFormat::kV31);
}

TEST(TemplateTraits, SeesThoughts) {
  EXPECT_EQ(traits_of("{{ 'A<think>\\n' if add_generation_prompt }}").thinking, Thinking::kAlways);
  EXPECT_EQ(traits_of("{{ '<think>' if enable_thinking is not defined or enable_thinking }}").thinking,
            Thinking::kSwitch);
  EXPECT_EQ(traits_of("{{ raise_exception('no') }}").thinking, Thinking::kModel);
  EXPECT_TRUE(traits_of("{% for m in messages %}{{ m.reasoning_content }}{% endfor %}").keeps_reasoning);
  EXPECT_TRUE(
      traits_of("{{ messages[1].reasoning_content if messages[-1].role == 'tool' }}").keeps_reasoning);
}

TEST(TemplateTraits, ThinkingBecomesArguments) {
  const TemplateTraits can{.thinking = Thinking::kSwitch}, always{.thinking = Thinking::kAlways};
  EXPECT_EQ(thinking_args(can, true), json({{"thinking", true}, {"enable_thinking", true}}));
  EXPECT_EQ(thinking_args(can, false), json({{"thinking", false}, {"enable_thinking", false}}));
  EXPECT_EQ(thinking_args(can, std::nullopt), json::object());
  EXPECT_EQ(thinking_args(always, false), json::object());
}

// The genuine files: HADAL_TOKENIZER_CASES as in tokenizer_test.cc.
TEST(TemplateTraits, KnowsTheFilesOfHadalTokenizerCases) {
  const char* root = std::getenv("HADAL_TOKENIZER_CASES");
  if (root == nullptr) GTEST_SKIP() << "HADAL_TOKENIZER_CASES is not set";
  const auto load = [&](const std::string& config) {
    const TemplateFolder folder("", read_text_file(root + ("/" + config), 1 << 24, ErrorKind::kIo));
    return find_traits(ChatTemplate::load(folder.path()));
  };
  const TemplateTraits v3 = load("v3/tokenizer_config.json"), r1 = load("v3/tokenizer_config.r1.json");
  EXPECT_EQ(v3.tool_format, ToolFormat::kV3);
  EXPECT_FALSE(v3.text_with_calls);
  EXPECT_EQ(r1.tool_format, ToolFormat::kV3);
  EXPECT_TRUE(r1.text_with_calls);
  EXPECT_EQ(load("v2/tokenizer_config.json").tool_format, ToolFormat::kNone);
}

}  // namespace
}  // namespace hadal::text
