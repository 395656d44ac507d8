#include "hadal/serve/response_request.h"

#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/api_error.h"
#include "hadal/serve/endpoint_rules.h"
#include "hadal/serve/translation.h"

namespace hadal::serve {
namespace {

constexpr size_t kMaxItems = 4096;

// Text, or a list of text parts.
std::string text_of(const json& content, const std::string& path, std::string_view between) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) refuse_value(path, "a string or a list of text parts", content);
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    const std::string part_path = fmt::format("{}[{}]", path, i);
    const json& type = at_key(content[i], "type");
    if (i > 0) text += between;
    if (type == "refusal") {
      text += text_at(content[i], "refusal", part_path);
    } else if (type == "input_text" || type == "output_text" || type == "text" || type == "summary_text" ||
               type == "reasoning_text") {
      text += text_at(content[i], "text", part_path);
    } else {
      refuse_value(part_path + ".type", "input_text or output_text: this model reads nothing else", type);
    }
  }
  return text;
}

// Items as messages: an assistant's thoughts, text and calls are items of their own, and one message.
class Conversation {
 public:
  void add(const json& item, const std::string& path) {
    if (!item.is_object()) refuse_value(path, "an object", item);
    const json& type = at_key(item, "type");
    if (type == "message" || (type.is_null() && item.contains("role"))) return add_message(item, path);
    if (type == "reasoning") return add_reasoning(item, path);
    if (type == "function_call") return add_call(item, path);
    if (type != "function_call_output")
      refuse_value(path + ".type", "message, reasoning, function_call or function_call_output", type);
    std::string output = text_of(at_key(item, "output"), path + ".output", "\n");
    add_plain(
        {{"role", "tool"}, {"tool_call_id", text_at(item, "call_id", path)}, {"content", std::move(output)}});
  }

  void add_plain(json message) {
    thoughts_.clear();  // nothing came of them
    messages_.push_back(std::move(message));
  }

  json take() { return std::move(messages_); }

 private:
  void add_message(const json& item, const std::string& path) {
    const std::string& role = text_at(item, "role", path);
    if (role != "user" && role != "system" && role != "developer" && role != "assistant")
      refuse_value(path + ".role", "user, assistant, system or developer", item["role"]);
    const bool answer = role == "assistant";
    std::string text = text_of(at_key(item, "content"), path + ".content", answer ? "" : "\n");
    if (!answer) return add_plain({{"role", role}, {"content", std::move(text)}});
    new_answer()["content"] = std::move(text);
  }

  void add_reasoning(const json& item, const std::string& path) {
    const bool raw = at_key(item, "content").is_array() && !at_key(item, "content").empty();
    const char* key = raw ? "content" : "summary";
    const json& thoughts = at_key(item, key);
    if (!thoughts.is_null()) thoughts_ += text_of(thoughts, fmt::format("{}.{}", path, key), "\n");
  }

  void add_call(const json& item, const std::string& path) {
    const bool goes_on = thoughts_.empty() && !messages_.empty() && messages_.back()["role"] == "assistant";
    json& answer = goes_on ? messages_.back() : new_answer();
    json function{{"name", text_at(item, "name", path)}, {"arguments", text_at(item, "arguments", path)}};
    answer["tool_calls"].push_back(
        {{"id", text_at(item, "call_id", path)}, {"type", "function"}, {"function", std::move(function)}});
  }

  json& new_answer() {
    json message{{"role", "assistant"}, {"content", ""}};
    if (!thoughts_.empty()) message["reasoning_content"] = std::exchange(thoughts_, {});
    messages_.push_back(std::move(message));
    return messages_.back();
  }

  json messages_ = json::array();
  std::string thoughts_;  // of the answer that comes
};

// Searching the web is offered by agents that have no need of it, so it is left out; what else a server would run is refused.
json tools_of(const json& tools) {
  json result = json::array();
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string path = fmt::format("tools[{}]", i);
    const json& type = at_key(tools[i], "type");
    if (type.is_string() && type.get_ref<const std::string&>().starts_with("web_search")) continue;
    if (type != "function")
      refuse_value(path + ".type", "\"function\": this server runs no tools of its own", type);
    const json& parameters = at_key(tools[i], "parameters");
    if (!parameters.is_null() && !parameters.is_object())
      refuse_value(path + ".parameters", "an object", parameters);
    result.push_back(function_tool(text_at(tools[i], "name", path), at_key(tools[i], "description"),
                                   parameters, at_key(tools[i], "strict")));
  }
  return result;
}

void read_choice(const json& choice, json& chat) {
  if (choice == "none" || choice == "auto" || choice == "required") {
    chat["tool_choice"] = choice;
  } else if (at_key(choice, "type") == "function") {
    chat["tool_choice"] = choice_of(text_at(choice, "name", "tool_choice"));
  } else {
    refuse_value("tool_choice", "none, auto, required or a function",
                 choice.is_object() ? at_key(choice, "type") : choice);
  }
}

void read_format(const json& format, json& chat) {
  const json& type = at_key(format, "type");
  if (format.is_null() || type == "text") return;
  if (type == "json_object") {
    chat["response_format"] = json{{"type", "json_object"}};
  } else if (type == "json_schema") {
    if (!at_key(format, "schema").is_object())
      refuse_value("text.format.schema", "an object", at_key(format, "schema"));
    chat["response_format"] = schema_format(format["schema"]);
  } else {
    refuse_value("text.format.type", "text, json_object or json_schema", type);
  }
}

void refuse_what_is_not_here(const FieldReader& fields) {
  if (fields.boolean("background").value_or(false))
    fields.refuse(400, "background", "expected false: responses are made while the client waits");
  if (fields.string("truncation").value_or("disabled") != "disabled")
    fields.refuse(400, "truncation", "expected disabled: no items are left out of the conversation");
  if (fields.has("conversation"))
    fields.refuse(400, "conversation", "expected none: see previous_response_id");
  if (fields.has("prompt")) fields.refuse(400, "prompt", "expected none: this server stores no prompts");
}

}  // namespace

json input_items(const json& body) {
  const json& input = at_key(body, "input");
  if (input.is_string()) return json::array({{{"type", "message"}, {"role", "user"}, {"content", input}}});
  if (!input.is_array() || input.empty()) refuse_value("input", "a string or a list of items", input);
  return input;
}

json chat_of_responses(const json& body, const json& earlier) {
  const FieldReader fields(body, responses_rules());
  refuse_what_is_not_here(fields);
  const json items = input_items(body);
  if (earlier.size() + items.size() > kMaxItems)
    fields.refuse(422, "input", fmt::format("expected at most {} items, earlier ones included", kMaxItems));
  json chat = json::object();
  copy_fields(body, chat,
              {"model", "temperature", "top_p", "top_k", "seed", "stream", "cache_salt",
               "parallel_tool_calls", "chat_template_kwargs"});
  if (const auto most = fields.integer("max_output_tokens")) chat["max_tokens"] = *most;
  Conversation conversation;
  if (const json* instructions = fields.find("instructions"))
    conversation.add_plain({{"role", "system"}, {"content", *instructions}});
  for (const json& item : earlier) conversation.add(item, "previous_response_id");
  for (size_t i = 0; i < items.size(); ++i) conversation.add(items[i], fmt::format("input[{}]", i));
  chat["messages"] = conversation.take();
  if (const json* tools = fields.find("tools")) chat["tools"] = tools_of(*tools);
  if (const json* choice = fields.find("tool_choice")) read_choice(*choice, chat);
  if (const json* text = fields.find("text")) read_format(at_key(*text, "format"), chat);
  if (const json* reasoning = fields.find("reasoning")) {
    const json& effort = at_key(*reasoning, "effort");
    if (!effort.is_null() && !effort.is_string()) refuse_value("reasoning.effort", "a string", effort);
    if (effort.is_string()) chat["reasoning_effort"] = effort;
  }
  return chat;
}

}  // namespace hadal::serve
