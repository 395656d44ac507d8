#include "hadal/text/tools.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace hadal::text {
namespace {

constexpr size_t kMaxTools = 128, kMaxName = 64;  // OpenAI's and DeepSeek's limits

const json& at_key(const json& object, const char* key) {
  static const json null;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? null : *found;
}

[[noreturn]] void refuse(const std::string& path, std::string_view expected, const std::string& found) {
  fail(ErrorKind::kRequest, "{}\n  expected  {}\n  found     {}", path, expected, found);
}

std::string kind_of(const json& value) {
  return value.is_null() ? "nothing" : value.type_name();
}

bool is_name(const json& name) {
  if (!name.is_string()) return false;
  const auto& text = name.get_ref<const std::string&>();
  return !text.empty() && text.size() <= kMaxName && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

json normal_function(json function, const std::string& path) {
  if (!function.is_object()) refuse(path, "an object", kind_of(function));
  const json& name = at_key(function, "name");
  if (!is_name(name)) {
    refuse(path + ".name", fmt::format("1 to {} of A-Z a-z 0-9 _ -", kMaxName),
           name.is_string() ? "other characters, or too many" : kind_of(name));
  }
  if (at_key(function, "description").is_null()) function["description"] = "";
  if (!function["description"].is_string()) {
    refuse(path + ".description", "a string", kind_of(function["description"]));
  }
  if (at_key(function, "parameters").is_null()) {
    function["parameters"] = {{"type", "object"}, {"properties", json::object()}};
  }
  const json& parameters = function["parameters"];
  if (!parameters.is_object()) refuse(path + ".parameters", "an object: a JSON schema", kind_of(parameters));
  const json& type = at_key(parameters, "type");
  if (!type.is_null() && type != "object") {
    refuse(path + ".parameters.type", "\"object\"", type.is_string() ? type.dump() : kind_of(type));
  }
  const json& strict = at_key(function, "strict");
  if (!strict.is_null() && !strict.is_boolean()) refuse(path + ".strict", "true or false", kind_of(strict));
  return function;
}

const json& name_of(const json& tool) {
  return tool["function"]["name"];
}

// A tag where the model has one token for it, else its text.
std::string tag(const Tokenizer& tokenizer, std::string_view text) {
  const auto id = tokenizer.token_id(text);
  return id ? fmt::format("<[{}]>", *id) : fmt::format("\"{}\"", text);
}

// The schema with what the compiler needs to know: which keywords it may ignore, and how much white space it allows,
// since a model that may write it forever sometimes does.
std::string schema_of(const json& function) {
  json schema = function["parameters"];
  schema["type"] = "object";
  const bool strict = at_key(function, "strict") == true;
  schema["x-guidance"] = {{"lenient", !strict}, {"whitespace_pattern", R"([ \n\t]{1,40})"}};
  return schema.dump();
}

// The rule `call_<number>`: the whole of one call.
std::string call_rule(ToolFormat format, const json& tool, size_t number, const Tokenizer& tokenizer) {
  const auto name = name_of(tool).get<std::string>();
  const std::string sep = tag(tokenizer, tool_tags::kSep);
  const std::string head = format == ToolFormat::kV3
                               ? fmt::format(R"("function" {} "{}\n```json\n")", sep, name)
                               : fmt::format(R"("{}" {})", name, sep);
  return fmt::format("call_{0}: {1} {2} arguments_{0}{3} {4}\narguments_{0}: %json {5}\n", number,
                     tag(tokenizer, tool_tags::kCallBegin), head,
                     format == ToolFormat::kV3 ? R"( "\n```")" : "", tag(tokenizer, tool_tags::kCallEnd),
                     schema_of(tool["function"]));
}

}  // namespace

json normalise_tools(const json& tools) {
  json result = json::array();
  if (tools.is_null()) return result;
  if (!tools.is_array()) refuse("tools", "a list", kind_of(tools));
  if (tools.size() > kMaxTools) {
    refuse("tools", fmt::format("at most {}", kMaxTools), fmt::format("{}", tools.size()));
  }
  std::set<std::string> names;
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string path = fmt::format("tools[{}]", i);
    if (!tools[i].is_object()) refuse(path, "an object", kind_of(tools[i]));
    const json& type = at_key(tools[i], "type");
    if (type != "function") {
      refuse(path + ".type", "\"function\"", type.is_string() ? "another type" : kind_of(type));
    }
    json tool = tools[i];
    tool["function"] = normal_function(at_key(tools[i], "function"), path + ".function");
    const auto name = name_of(tool).get<std::string>();
    if (!names.insert(name).second) refuse(path + ".function.name", "a name of its own", name + ", again");
    result.push_back(std::move(tool));
  }
  return result;
}

ToolChoice read_tool_choice(const json& tool_choice, const json& tools) {
  using Kind = ToolChoice::Kind;
  const json known = normalise_tools(tools);
  ToolChoice choice{.kind = known.empty() ? Kind::kNone : Kind::kAuto};
  if (tool_choice.is_null() || tool_choice == "auto") return choice;
  if (tool_choice == "none") return {.kind = Kind::kNone};
  if (tool_choice == "required") {
    if (known.empty()) refuse("tools", "at least one, since tool_choice is \"required\"", "none");
    return {.kind = Kind::kRequired};
  }
  if (!tool_choice.is_object()) {
    refuse("tool_choice", "\"none\", \"auto\", \"required\" or a function", kind_of(tool_choice));
  }
  if (const json& type = at_key(tool_choice, "type"); type != "function") {
    refuse("tool_choice.type", "\"function\"", type.is_string() ? "another type" : kind_of(type));
  }
  const json& name = at_key(at_key(tool_choice, "function"), "name");
  const bool is_known =
      std::any_of(known.begin(), known.end(), [&](const json& tool) { return name_of(tool) == name; });
  if (!is_known) {
    refuse("tool_choice.function.name", "the name of one of tools",
           is_name(name) ? name.dump() : kind_of(name));
  }
  return {.kind = Kind::kNamed, .name = name.get<std::string>()};
}

std::string tool_grammar(ToolFormat format, const json& tools, const ToolChoice& choice,
                         const Tokenizer& tokenizer) {
  using Kind = ToolChoice::Kind;
  const json known = normalise_tools(tools);
  const std::string begin = tag(tokenizer, tool_tags::kCallsBegin);
  const bool tags_are_tokens = begin.starts_with("<[");
  if (choice.kind == Kind::kNone || known.empty()) return {};
  if (choice.kind == Kind::kAuto && !tags_are_tokens) return {};
  std::string rules, names;
  for (size_t i = 0; i < known.size(); ++i) {
    if (choice.kind == Kind::kNamed && name_of(known[i]) != choice.name) continue;
    names += fmt::format("{}call_{}", names.empty() ? "" : " | ", i);
    rules += call_rule(format, known[i], i, tokenizer);
  }
  HADAL_CHECK(!names.empty(), "no tool is called {}", choice.name);
  // After </think> come two newlines, for models that were taught so.
  std::string start = choice.kind == Kind::kAuto ? "start: TEXT? calls?\nTEXT: /(.|\\n)+/\n"
                                                 : "start: SPACE? calls\nSPACE: /\\n{1,2}/\n";
  const bool one = choice.kind == Kind::kNamed || !choice.parallel;
  const std::string more = one ? "" : format == ToolFormat::kV3 ? R"( ("\n" call)*)" : " call*";
  return fmt::format("{}calls: {} call{} {}\ncall: {}\n{}", start, begin, more,
                     tag(tokenizer, tool_tags::kCallsEnd), names, rules);
}

std::string tools_prompt(ToolFormat format, const json& tools) {
  std::string text = "# Tools\n\nThese functions can be called:\n";
  for (const json& tool : normalise_tools(tools)) {
    const json& function = tool["function"];
    text += fmt::format("\n## {}\n\n", name_of(tool).get<std::string>());
    if (const auto& description = function["description"]; description != "") {
      text += description.get<std::string>() + "\n\n";
    }
    text += fmt::format("JSON schema of its arguments: {}\n", function["parameters"].dump());
  }
  const auto call = [](const char* name) {
    const json function = {{"name", name}, {"arguments", R"({"ARGUMENT": "VALUE"})"}};
    return json{{"function", function}};
  };
  text += fmt::format(
      "\nTo call functions, write exactly this, with the functions' names and arguments filled in, and then "
      "stop:\n\n"
      "{}\n\nFor several calls, repeat the part of a call within the list:\n\n{}\n\n"
      "The arguments are one JSON object that fits the schema. Call a function only when it is needed; its "
      "result "
      "comes in the next message. Otherwise answer without any of these marks.",
      write_tool_calls(format, json::array({call("NAME")})),
      write_tool_calls(format, json::array({call("NAME_1"), call("NAME_2")})));
  return text;
}

json with_tools(json messages, const std::string& prompt) {
  const auto system = std::find_if(messages.begin(), messages.end(),
                                   [](const json& message) { return message["role"] == "system"; });
  if (system == messages.end()) {
    messages.insert(messages.begin(), json{{"role", "system"}, {"content", prompt}});
    return messages;
  }
  const auto content = (*system)["content"].get<std::string>();
  (*system)["content"] = content.empty() ? prompt : content + "\n\n" + prompt;
  return messages;
}

}  // namespace hadal::text
