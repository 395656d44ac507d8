#include "hadal/text/messages.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace hadal::text {
namespace {

// The value at the key, null if there is none.
const json& at_key(const json& object, const char* key) {
  static const json null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

[[noreturn]] void refuse(const std::string& path, std::string_view expected, const json& found) {
  constexpr size_t kShown = 40;
  std::string shown = found.is_null() ? "nothing" : found.type_name();
  if (found.is_array() && found.empty()) shown = "an empty list";
  if (found.is_string()) {
    const auto& value = found.get_ref<const std::string&>();
    if (value.size() <= kShown) shown = fmt::format("\"{}\"", value);
  }
  fail(ErrorKind::kRequest, "{}\n  expected  {}\n  found     {}", path, expected, shown);
}

std::string text_of_parts(const json& parts, const std::string& path) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string part_path = fmt::format("{}[{}]", path, i);
    const json& part = parts[i];
    if (!part.is_object()) refuse(part_path, "an object", part);
    if (at_key(part, "type") != "text") {
      refuse(part_path + ".type", "\"text\": this model reads nothing else", at_key(part, "type"));
    }
    if (!at_key(part, "text").is_string()) refuse(part_path + ".text", "a string", at_key(part, "text"));
    if (i > 0) text += '\n';
    text += part["text"].get_ref<const std::string&>();
  }
  return text;
}

std::string text_of(const json& content, const std::string& path, bool may_be_absent) {
  if (content.is_string()) return content.get<std::string>();
  if (content.is_array()) return text_of_parts(content, path);
  if (!content.is_null() || !may_be_absent) refuse(path, "a string or a list of text parts", content);
  return {};
}

json normal_function(const json& function, const std::string& path) {
  if (!function.is_object()) refuse(path, "an object", function);
  const json& name = at_key(function, "name");
  if (!name.is_string() || name.get_ref<const std::string&>().empty()) {
    refuse(path + ".name", "the function's name", name);
  }
  const json& arguments = at_key(function, "arguments");
  if (!arguments.is_null() && !arguments.is_string() && !arguments.is_object()) {
    refuse(path + ".arguments", "a string of JSON", arguments);
  }
  std::string text = arguments.is_string() ? arguments.get<std::string>() : "";
  if (arguments.is_object()) text = arguments.dump();
  if (text.empty()) text = "{}";  // what some servers make of a call without arguments
  return {{"name", name}, {"arguments", text}};
}

json normal_calls(const json& calls, const std::string& path) {
  if (calls.is_null()) return json::array();
  if (!calls.is_array()) refuse(path, "a list", calls);
  json result = json::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string call_path = fmt::format("{}[{}]", path, i);
    if (!calls[i].is_object()) refuse(call_path, "an object", calls[i]);
    const json& type = at_key(calls[i], "type");
    if (!type.is_null() && type != "function") refuse(call_path + ".type", "\"function\"", type);
    json call = calls[i];
    call["type"] = "function";
    call["function"] = normal_function(at_key(calls[i], "function"), call_path + ".function");
    result.push_back(std::move(call));
  }
  return result;
}

// Arguments that are no JSON remain a string: they are what the model wrote.
void make_objects(json& calls) {
  for (json& call : calls) {
    json& arguments = call["function"]["arguments"];
    try {
      json object = parse_json(arguments.get_ref<const std::string&>(), "arguments", ErrorKind::kRequest);
      arguments = std::move(object);
    } catch (const Error&) {
      continue;
    }
  }
}

class Normaliser {
 public:
  explicit Normaliser(const TemplateTraits& traits) : traits_(traits) {}

  void add(const json& message, const std::string& path) {
    if (!message.is_object()) refuse(path, "an object", message);
    static constexpr std::array kRoles = {"system", "developer", "user", "assistant", "tool", "function"};
    const json& role = at_key(message, "role");
    if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
      refuse(path + ".role", "system, developer, user, assistant, tool or function", role);
    }
    if (role == "assistant") {
      add_answer(message, path);
    } else if (role == "tool" || role == "function") {
      add_output(message, path);
    } else {
      json plain = message;
      if (role == "developer") plain["role"] = "system";
      plain["content"] = text_of(at_key(message, "content"), path + ".content", false);
      messages_.push_back(std::move(plain));
    }
  }

  json take() { return std::move(messages_); }

 private:
  void add_answer(const json& message, const std::string& path) {
    json answer = message;
    for (const char* key : {"function_call", "reasoning", "reasoning_content", "refusal", "audio"}) {
      answer.erase(key);
    }
    answer["content"] = text_of(at_key(message, "content"), path + ".content", true);
    add_reasoning(message, path, answer);
    json calls = normal_calls(at_key(message, "tool_calls"), path + ".tool_calls");
    if (const json& call = at_key(message, "function_call"); !call.is_null()) {
      last_call_ = fmt::format("call_{}", messages_.size());
      json function = normal_function(call, path + ".function_call");
      calls.push_back({{"id", last_call_}, {"type", "function"}, {"function", std::move(function)}});
    }
    answer.erase("tool_calls");
    if (!calls.empty()) add_calls(answer, std::move(calls));
    messages_.push_back(std::move(answer));
  }

  void add_reasoning(const json& message, const std::string& path, json& answer) const {
    for (const char* key : {"reasoning_content", "reasoning"}) {
      const json& thoughts = at_key(message, key);
      if (thoughts.is_null()) continue;
      if (!thoughts.is_string()) refuse(fmt::format("{}.{}", path, key), "a string", thoughts);
      if (traits_.keeps_reasoning && !answer.contains("reasoning_content")) {
        answer["reasoning_content"] = thoughts;
      }
    }
  }

  void add_calls(json& answer, json calls) {
    const auto text = answer["content"].get<std::string>();
    if (traits_.tool_format == ToolFormat::kNone) {
      answer["content"] = text + write_tool_calls(ToolFormat::kV31, calls);
      return;
    }
    if (!text.empty() && !traits_.text_with_calls) {
      json before = answer;
      messages_.push_back(std::move(before));
      answer.erase("reasoning_content");
    }
    if (text.empty() || !traits_.text_with_calls) answer["content"] = nullptr;
    if (traits_.arguments_as_object) make_objects(calls);
    answer["tool_calls"] = std::move(calls);
  }

  void add_output(const json& message, const std::string& path) {
    json output = message;
    // A function without a result is null for some clients.
    output["content"] = text_of(at_key(message, "content"), path + ".content", true);
    if (message["role"] == "function" && !last_call_.empty()) output["tool_call_id"] = last_call_;
    if (traits_.tool_format == ToolFormat::kNone) {
      const auto text = output["content"].get<std::string>();
      output = {{"role", "user"},
                {"content", fmt::format("{}{}{}", tool_tags::kOutputBegin, text, tool_tags::kOutputEnd)}};
    } else {
      output["role"] = "tool";
    }
    messages_.push_back(std::move(output));
  }

  const TemplateTraits& traits_;
  json messages_ = json::array();
  std::string last_call_;  // the id given to the last function_call
};

}  // namespace

json normalise_messages(const json& messages, const TemplateTraits& traits) {
  if (!messages.is_array() || messages.empty()) {
    refuse("messages", "a list of at least one message", messages);
  }
  Normaliser normaliser(traits);
  for (size_t i = 0; i < messages.size(); ++i) normaliser.add(messages[i], fmt::format("messages[{}]", i));
  return normaliser.take();
}

}  // namespace hadal::text
