#include "hadal/text/chat_template.h"

#include <chrono>
#include <ctime>
#include <filesystem>
#include <map>
#include <thread>

#include <gtest/gtest.h>

#include "hadal/text/text_cases.h"

namespace hadal::text {
namespace {

namespace fs = std::filesystem;

json user(const std::string& content) {
  return json::array({{{"role", "user"}, {"content", content}}});
}

std::string render(const std::string& source, const json& messages = json::array(),
                   const RenderOptions& options = {}) {
  const TemplateFolder folder(source);
  return ChatTemplate::load(folder.path()).render(messages, options);
}

// The message of the Error that loading or rendering ends in; empty when it does not.
std::string refusal(const std::string& source) {
  try {
    render(source, user("x"));
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

// A text of null in the cases: the reference raised, so we have to refuse.
void expect_text(const ChatTemplate& chat_template, const json& messages, const RenderOptions& options,
                 const json& row) {
  try {
    const std::string text = chat_template.render(messages, options);
    EXPECT_EQ(json(text), row["text"]) << row["template"];
  } catch (const Error& e) {
    EXPECT_TRUE(row["text"].is_null()) << row["template"] << e.what();
  }
}

TEST(ChatTemplate, RendersChatsLikeTransformers) {
  const json chats = read_json_file(std::string(kCases) + "chats.json", 1 << 20, ErrorKind::kIo);
  std::map<std::string, ChatTemplate> templates;
  templates.emplace("tiny-chat", ChatTemplate::load(kTinyChat));
  for (const auto& file : fs::directory_iterator(std::string(kCases) + "templates")) {
    const TemplateFolder folder(read_text_file(file.path().string(), 1 << 20, ErrorKind::kIo));
    templates.emplace(file.path().filename().string(), ChatTemplate::load(folder.path()));
  }
  for_each_case(std::string(kCases) + "chat_cases.jsonl", [&](const json& row) {
    RenderOptions options;
    options.add_generation_prompt = row["add"];
    if (row["tools"]) options.tools = &chats["tools"];
    options.template_args = &row["args"];
    SCOPED_TRACE(row["chat"].dump());
    expect_text(templates.at(row["template"]), chats["chats"][row["chat"].get<size_t>()], options, row);
  });
}

TEST(ChatTemplate, RendersSnippetsLikeTransformers) {
  const json context = read_json_file(std::string(kCases) + "snippet_context.json", 1 << 20, ErrorKind::kIo);
  for_each_case(std::string(kCases) + "snippet_cases.jsonl", [&](const json& row) {
    const TemplateFolder folder(row["template"].get<std::string>());
    RenderOptions options;
    options.template_args = &context["args"];
    expect_text(ChatTemplate::load(folder.path()), context["messages"], options, row);
  });
}

TEST(ChatTemplate, AnotherCanTakeTheFoldersPlace) {
  const TemplateFolder folder("the folder's", R"({"bos_token":"<b>"})"),
      other("{{ bos_token }}the other's", "{}");
  const auto rendered = [&](const std::string& instead) {
    return ChatTemplate::load(folder.path(), instead).render(json::array(), {});
  };
  EXPECT_EQ(rendered(""), "the folder's");
  EXPECT_EQ(rendered(other.path() + "/chat_template.jinja"), "<b>the other's");
  EXPECT_EQ(rendered("{{ bos_token }}text"), "<b>text");
  EXPECT_EQ(ChatTemplate::load(folder.path(), "{{ 1 }}").source(), "{{ 1 }}");
  const TemplateFolder none("", "{}");
  EXPECT_EQ(ChatTemplate::load(none.path(), "{{ 1 }}").render(json::array(), {}), "1") << "a base model";
  EXPECT_THROW(rendered("{% if"), Error);
  EXPECT_THROW(rendered("/nowhere/x.jinja"), Error);
}

TEST(ChatTemplate, ChoosesTheSource) {
  const std::string list =
      R"("chat_template":[{"name":"default","template":"D"},{"name":"tool_use","template":"T"},)"
      R"({"name":"rag","template":"R"}])";
  const TemplateFolder named("", "{" + list + "}");
  const json tools = json::array({json::object()}), none = json::array();
  const ChatTemplate chat_template = ChatTemplate::load(named.path());
  EXPECT_EQ(chat_template.render(json::array(), {}), "D");
  EXPECT_EQ(chat_template.render(json::array(), {.tools = &none}), "D");
  EXPECT_EQ(chat_template.render(json::array(), {.tools = &tools}), "T");

  const TemplateFolder both("from the file", "{" + list + "}");
  EXPECT_EQ(ChatTemplate::load(both.path()).render(json::array(), {.tools = &tools}), "from the file");
  const TemplateFolder one("", R"({"chat_template":"only","bos_token":null})");
  EXPECT_EQ(ChatTemplate::load(one.path()).render(json::array(), {.tools = &tools}), "only");

  for (const char* config :
       {"{}", R"({"chat_template":null})", R"({"chat_template":7})", R"({"chat_template":[]})",
        R"({"chat_template":[{"name":"other","template":"x"}]})", R"({"chat_template":"{% if"})"}) {
    const TemplateFolder bad("", config);
    EXPECT_THROW(ChatTemplate::load(bad.path()), Error) << config;
  }
}

TEST(ChatTemplate, GivesTheTemplateItsVariables) {
  EXPECT_EQ(render("{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token is defined }}"),
            "<｜begin▁of▁sentence｜>|<｜end▁of▁sentence｜>|<｜end▁of▁sentence｜>|False");
  EXPECT_EQ(render("{{ tools is none }} {{ documents is none }} {{ add_generation_prompt }}"),
            "True True True");
  const json args = {
      {"thinking", true}, {"bos_token", "B"}, {"messages", 1}, {"documents", json::array({1})}};
  EXPECT_EQ(render("{{ thinking }} {{ bos_token }} {{ messages }} {{ documents }}", json::array(),
                   {.template_args = &args}),
            "True B [] [1]");
  const json list = json::array();
  EXPECT_THROW(render("x", json::array(), {.template_args = &list}), Error);
  EXPECT_THROW(render("x", json::object()), Error);
}

TEST(ChatTemplate, FormatsTheGivenTime) {
  setenv("TZ", "UTC", 1);
  tzset();
  EXPECT_EQ(render("{{ strftime_now('%d %b %Y %H:%M') }}", json::array(), {.now = 86400}),
            "02 Jan 1970 00:00");
  EXPECT_EQ(render("{{ strftime_now('%Y')|int > 2020 }}"), "True");
}

TEST(ChatTemplate, SaysWhatTheTemplateSays) {
  const std::string raised = refusal("a\n{{ raise_exception('roles must alternate: ' ~ messages[0].role) }}");
  EXPECT_TRUE(contains(raised, "roles must alternate: user")) << raised;
  EXPECT_TRUE(contains(refusal("a\nb\n{{ messages.x.y }}"), "line 3")) << refusal("a\nb\n{{ messages.x.y }}");
  EXPECT_TRUE(contains(refusal("a\n{% if %}"), "line 2")) << refusal("a\n{% if %}");
}

// Each of these has stopped or killed some server.
std::vector<std::string> hostile_templates() {
  const auto repeat = [](const std::string& text, int n) {
    std::string all;
    for (int i = 0; i < n; ++i) all += text;
    return all;
  };
  const std::string ns = "{% set n = namespace(s=['x']) %}{% for i in range(99999) %}";
  return {
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% for i in range(10**9) %}x{% endfor %}",
      "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
      "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      "{% set s = 'x' %}" + repeat("{% set s = s + s %}", 60),
      "{% set s = 'x' %}" + repeat("{% set s %}{{ s }}{{ s }}{% endset %}", 60),
      "{% macro d(s, n) %}{{ d(s ~ s, n - 1) if n else s }}{% endmacro %}{{ d('x', 60) }}",
      ns + "{% set n.s = n.s + n.s %}{% endfor %}",
      ns + "{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
      ns + "{% set n.s = [n.s] %}{% endfor %}",
      ns + "{% set n.s = {'a': n.s} %}{% endfor %}",
      "{% set n = namespace() %}{% set n.a = [n] %}{{ n }}",
      "{{ 'x' * 10**9 }}",
      "{{ ['x' * 99999999, 'x' * 99999999] }}",
      "{{ [1] * 10**9 }}",
      "{% for i in range(99999) %}" + std::string(10000, 'y') + "{% endfor %}",
      "{% set s = 'x' * 1000000 %}{{ s.replace('x', s) }}",
      "{{ (range(99999)|list)|join('x' * 1000000) }}",
      "{{ [[[1]]]|tojson(indent=10**9) }}",
      "{{ ('a\\n' * 100000)|indent(10**8) }}",
      "{{ '%1000000000d'|format(1) }}",
      "{{ '{:1000000000}'.format(1) }}",
      "{{ [1]|batch(10**9, 0) }}",
      "{{ ['a\\nb'] * 9999|map('indent', 1000000)|list }}",
      "{% set l = range(99999)|list %}{{ l|select('in', l)|list|length }}",
      "{% set s = 'x' * 10000000 %}{% for i in range(99999) %}{% set a = s[9999999] %}{% endfor %}",
      "{{ " + std::string(50000, '(') + "1" + std::string(50000, ')') + " }}",
      "{{ x" + repeat("+1", 100000) + " }}",
      "{{ 2" + repeat("**2", 60000) + " }}",
      "{{ x" + repeat(".y", 100000) + " }}",
      repeat("{% if 1 %}", 10000),
      std::string(300000, 'x'),
      "{% include '/etc/passwd' %}",
      "{{ ''.__class__.__mro__ }}",
  };
}

// Here each ends in an error, soon and on a small stack.
TEST(ChatTemplate, BoundsHostileTemplates) {
  for (const std::string& source : hostile_templates()) {
    std::string message;
    const auto begin = std::chrono::steady_clock::now();
    std::thread([&] { message = refusal(source); }).join();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    EXPECT_NE(message, "") << source.substr(0, 80);
    EXPECT_LT(took.count(), 20) << source.substr(0, 80);  // a second on an idle machine
  }
}

// Deep and long, and yet harmless.
TEST(ChatTemplate, AllowsWhatIsOnlyLarge) {
  const std::string content(1 << 20, 'c');
  EXPECT_EQ(render("{{ messages[0].content|trim }}", user(content)), content);
  json many = json::array();
  for (int i = 0; i < 2000; ++i)
    many.push_back({{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", "text"}});
  EXPECT_EQ(
      render("{% for m in messages %}{{ messages|length }}{{ m.content.strip() }}{% endfor %}", many).size(),
      16000U);
  EXPECT_EQ(render("{% set n = namespace(l=[]) %}{% for m in messages %}{% set n.l = n.l + [m] %}{% endfor "
                   "%}{{ n.l|length }}",
                   json(many.begin(), many.begin() + 500)),
            "500");
}

// The templates of the genuine files: HADAL_TOKENIZER_CASES as in tokenizer_test.cc, with chat_cases.jsonl.
TEST(ChatTemplate, AgreesOnTheFilesOfHadalTokenizerCases) {
  const char* root = std::getenv("HADAL_TOKENIZER_CASES");
  if (root == nullptr) GTEST_SKIP() << "HADAL_TOKENIZER_CASES is not set";
  for (const auto& folder : fs::directory_iterator(root)) {
    for (const std::string variant : {"", ".r1"}) {
      const fs::path cases = folder.path() / ("chat_cases" + variant + ".jsonl");
      if (!fs::exists(cases)) continue;
      const std::string config = (folder.path() / ("tokenizer_config" + variant + ".json")).string();
      const TemplateFolder copy("", read_text_file(config, 1 << 24, ErrorKind::kIo));
      const ChatTemplate chat_template = ChatTemplate::load(copy.path());
      for_each_case(cases.string(), [&](const json& row) {
        const RenderOptions options{.add_generation_prompt = row.value("add_generation_prompt", true)};
        EXPECT_EQ(chat_template.render(row["messages"], options), row["text"].get<std::string>()) << cases;
      });
    }
  }
}

}  // namespace
}  // namespace hadal::text
