#include "hadal/text/template_traits.h"

#include <nlohmann/json.hpp>

#include "hadal/text/reasoning.h"

namespace hadal::text {
namespace {

// Words that no template has.
constexpr const char* kName = "probed_name";
constexpr const char* kText = "probed text";
constexpr const char* kThought = "probed thought";
constexpr const char* kArguments = R"({"probed_key": 1})";

json message(const char* role, const json& content) {
  return {{"role", role}, {"content", content}};
}

json call_message(const json& content, const json& arguments) {
  json answer = message("assistant", content);
  const json function = {{"name", kName}, {"arguments", arguments}};
  answer["tool_calls"] = json::array({{{"id", "call_0"}, {"type", "function"}, {"function", function}}});
  return answer;
}

std::string render(const ChatTemplate& chat_template, const json& messages, const RenderOptions& options) {
  try {
    return chat_template.render(messages, options);
  } catch (const Error&) {
    return {};
  }
}

std::string render_call(const ChatTemplate& chat_template, const json& content, const json& arguments) {
  const json messages = json::array({message("user", "?"), call_message(content, arguments)});
  return render(chat_template, messages, {.add_generation_prompt = false});
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

void find_calls(const ChatTemplate& chat_template, TemplateTraits& traits) {
  const std::string name = kName, sep(tool_tags::kSep);
  std::string calls = render_call(chat_template, nullptr, kArguments);
  // A string that tojson prints has its quotes escaped; a template that joins strings refuses an object.
  const std::string escaped = R"(\"probed_key\")";
  if (calls.empty() || contains(calls, escaped)) {
    const json arguments = {{"probed_key", 1}};
    const std::string with_object = render_call(chat_template, nullptr, arguments);
    traits.arguments_as_object = contains(with_object, name);
    if (traits.arguments_as_object) calls = with_object;
  }
  if (contains(calls, name + sep)) {
    traits.tool_format = ToolFormat::kV31;
  } else if (contains(calls, sep + name)) {
    traits.tool_format = ToolFormat::kV3;
  }
  const json arguments = traits.arguments_as_object ? json{{"probed_key", 1}} : json(kArguments);
  const std::string both = render_call(chat_template, kText, arguments);
  traits.text_with_calls = contains(both, kText) && contains(both, name);
}

bool renders_tools(const ChatTemplate& chat_template) {
  const json parameters = {{"type", "object"}, {"properties", json::object()}};
  const json function = {{"name", kName}, {"description", kText}, {"parameters", parameters}};
  const json tools = json::array({{{"type", "function"}, {"function", function}}});
  return contains(render(chat_template, json::array({message("user", "?")}), {.tools = &tools}), kName);
}

bool keeps_reasoning(const ChatTemplate& chat_template) {
  json answer = message("assistant", kText), call = call_message(nullptr, kArguments);
  answer["reasoning_content"] = call["reasoning_content"] = kThought;
  const json question = message("user", "?"), output = message("tool", "1");
  // Some keep thoughts of the last turn only, or only those that led to a call.
  return contains(render(chat_template, json::array({question, answer}), {}), kThought) ||
         contains(render(chat_template, json::array({question, answer, question}), {}), kThought) ||
         contains(render(chat_template, json::array({question, call, output}), {}), kThought);
}

bool opens_thinking(const ChatTemplate& chat_template, const json& args) {
  const json messages = json::array({message("user", "?")});
  return ends_in_thinking(render(chat_template, messages, {.template_args = &args}));
}

json switch_to(bool thinking) {
  return {{"thinking", thinking}, {"enable_thinking", thinking}};
}

}  // namespace

TemplateTraits find_traits(const ChatTemplate& chat_template) {
  TemplateTraits traits;
  find_calls(chat_template, traits);
  traits.renders_tools = renders_tools(chat_template);
  traits.keeps_reasoning = keeps_reasoning(chat_template);
  const json messages = json::array({message("user", "?")}), on = switch_to(true), off = switch_to(false);
  const std::string with = render(chat_template, messages, {.template_args = &on});
  const std::string without = render(chat_template, messages, {.template_args = &off});
  if (with != without) {
    traits.thinking = Thinking::kSwitch;
  } else if (opens_thinking(chat_template, json::object())) {
    traits.thinking = Thinking::kAlways;
  }
  return traits;
}

json thinking_args(const TemplateTraits& traits, std::optional<bool> thinking) {
  return thinking && traits.thinking == Thinking::kSwitch ? switch_to(*thinking) : json::object();
}

}  // namespace hadal::text
