#include "hadal/serve/message_request.h"

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

// Text, or a list of text blocks, in lines; null is none.
std::string text_of(const json& content, const std::string& path) {
  if (content.is_null()) return {};
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) refuse_value(path, "a string or a list of text blocks", content);
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    const std::string block_path = fmt::format("{}[{}]", path, i);
    if (at_key(content[i], "type") != "text")
      refuse_value(block_path + ".type", "\"text\": this model reads nothing else",
                   at_key(content[i], "type"));
    text += (i > 0 ? "\n" : "") + text_at(content[i], "text", block_path);
  }
  return text;
}

std::string arguments_of(const json& input) {
  const json& raw = at_key(input, kInvalidJson);
  return raw.is_string() && input.size() == 1 ? raw.get<std::string>() : input.dump();
}

class Conversation {
 public:
  void add_system(const json& system) {
    const std::string text = text_of(system, "system");
    if (!text.empty()) open("system")["content"] = text;
  }

  void add(const json& message, const std::string& path) {
    if (!message.is_object()) refuse_value(path, "an object", message);
    const json& role = at_key(message, "role");
    const json& content = at_key(message, "content");
    if (role == "user") return add_user(content, path + ".content");
    if (role == "assistant") return add_assistant(content, path + ".content");
    if (role != "system") refuse_value(path + ".role", "user, assistant or system", role);
    add_text("system", text_of(content, path + ".content"), "\n");
  }

  json take(MessageUse use) {
    if (messages_.empty() || messages_.back()["role"] != "assistant") return std::move(messages_);
    json& last = messages_.back();
    if (!last.contains("tool_calls")) {
      last["prefix"] = true;
    } else if (use == MessageUse::kAnswer) {
      throw ApiError(400, "messages: expected a tool_result for each tool_use at the end, found none",
                     "messages");
    }
    return std::move(messages_);
  }

 private:
  // The message of this role that goes on, or a new one.
  json& open(const char* role) {
    if (messages_.empty() || messages_.back()["role"] != role)
      messages_.push_back({{"role", role}, {"content", ""}});
    return messages_.back();
  }

  void add_text(const char* role, const std::string& text, std::string_view between) {
    auto& all = open(role)["content"].get_ref<std::string&>();
    if (!all.empty()) all += between;
    all += text;
  }

  void add_user(const json& content, const std::string& path) {
    if (content.is_string()) return add_text("user", content.get<std::string>(), "\n");
    if (!content.is_array()) refuse_value(path, "a string or a list of blocks", content);
    for (size_t i = 0; i < content.size(); ++i) {
      if (at_key(content[i], "type") == "tool_result") add_result(content[i], fmt::format("{}[{}]", path, i));
    }
    for (size_t i = 0; i < content.size(); ++i) {
      const std::string block_path = fmt::format("{}[{}]", path, i);
      const json& type = at_key(content[i], "type");
      if (type == "tool_result") continue;
      if (type != "text")
        refuse_value(block_path + ".type", "text or tool_result: this model reads nothing else", type);
      add_text("user", text_at(content[i], "text", block_path), "\n");
    }
  }

  void add_result(const json& block, const std::string& path) {
    std::string text = text_of(at_key(block, "content"), path + ".content");
    if (at_key(block, "is_error") == true) text = "Error: " + text;
    messages_.push_back(
        {{"role", "tool"}, {"tool_call_id", text_at(block, "tool_use_id", path)}, {"content", text}});
  }

  void add_assistant(const json& content, const std::string& path) {
    if (content.is_string()) return add_text("assistant", content.get<std::string>(), "");
    if (!content.is_array()) refuse_value(path, "a string or a list of blocks", content);
    for (size_t i = 0; i < content.size(); ++i)
      add_assistant_block(content[i], fmt::format("{}[{}]", path, i));
  }

  void add_assistant_block(const json& block, const std::string& path) {
    const json& type = at_key(block, "type");
    if (type == "redacted_thinking") return;  // another server's, which only it can read
    if (type == "text") return add_text("assistant", text_at(block, "text", path), "");
    if (type == "thinking") {
      json& thoughts = open("assistant")["reasoning_content"];
      thoughts = (thoughts.is_null() ? "" : thoughts.get<std::string>()) + text_at(block, "thinking", path);
      return;
    }
    if (type != "tool_use") refuse_value(path + ".type", "text, thinking or tool_use", type);
    const json& input = at_key(block, "input");
    if (!input.is_object()) refuse_value(path + ".input", "an object", input);
    json function{{"name", text_at(block, "name", path)}, {"arguments", arguments_of(input)}};
    open("assistant")["tool_calls"].push_back(
        {{"id", text_at(block, "id", path)}, {"type", "function"}, {"function", std::move(function)}});
  }

  json messages_ = json::array();
};

json tools_of(const json& tools) {
  json result = json::array();
  for (size_t i = 0; i < tools.size(); ++i) {
    const json& tool = tools[i];
    const std::string path = fmt::format("tools[{}]", i);
    if (!tool.is_object()) refuse_value(path, "an object", tool);
    const json& type = at_key(tool, "type");
    if (!type.is_null() && type != "custom")
      refuse_value(path + ".type", "\"custom\": this server runs no tools of its own", type);
    const json& schema = at_key(tool, "input_schema");
    if (!schema.is_object()) refuse_value(path + ".input_schema", "an object", schema);
    result.push_back(function_tool(text_at(tool, "name", path), at_key(tool, "description"), schema,
                                   at_key(tool, "strict")));
  }
  return result;
}

void read_choice(const json& choice, json& chat) {
  const json& type = at_key(choice, "type");
  if (type == "auto" || type == "none") {
    chat["tool_choice"] = type;
  } else if (type == "any") {
    chat["tool_choice"] = "required";
  } else if (type == "tool") {
    chat["tool_choice"] = choice_of(text_at(choice, "name", "tool_choice"));
  } else {
    refuse_value("tool_choice.type", "auto, any, tool or none", type);
  }
  constexpr FieldRule kRules[] = {{"disable_parallel_tool_use", FieldType::kBoolean}};
  const auto disabled = FieldReader(choice, kRules, "tool_choice.").boolean("disable_parallel_tool_use");
  if (disabled) chat["parallel_tool_calls"] = !*disabled;
}

void read_thinking(const json& thinking, json& chat) {
  constexpr FieldRule kRules[] = {{"type", FieldType::kString},
                                  {"budget_tokens", FieldType::kInteger, 1, 2147483647}};
  const FieldReader fields(thinking, kRules, "thinking.");
  const std::string type = fields.string("type").value_or("");
  if (type != "enabled" && type != "disabled" && type != "adaptive")
    refuse_value("thinking.type", "enabled, disabled or adaptive", at_key(thinking, "type"));
  chat["thinking"] = {{"type", type}};
  const auto budget = fields.integer("budget_tokens");
  if (budget && type == "enabled") chat["thinking_token_budget"] = *budget;
}

void read_format(const json& format, json& chat) {
  if (format.is_null()) return;
  if (at_key(format, "type") != "json_schema")
    refuse_value("output_config.format.type", "\"json_schema\"", at_key(format, "type"));
  const json& schema = at_key(format, "schema");
  if (!schema.is_object()) refuse_value("output_config.format.schema", "an object", schema);
  chat["response_format"] = schema_format(schema);
}

}  // namespace

json chat_of_messages(const json& body, MessageUse use) {
  const FieldReader fields(body, message_rules());
  if (use == MessageUse::kAnswer && !fields.has("max_tokens"))
    refuse_value("max_tokens", "an integer", json());
  const json* messages = fields.find("messages");
  if (!messages) refuse_value("messages", "a list of messages", json());
  if (const json* servers = fields.find("mcp_servers"); servers && !servers->empty())
    throw ApiError(400, "mcp_servers: this server asks no others", "mcp_servers");
  json chat = json::object();
  copy_fields(body, chat, {"model", "temperature", "top_p", "top_k", "seed", "cache_salt"});
  if (use == MessageUse::kAnswer) copy_fields(body, chat, {"max_tokens", "stream"});
  Conversation conversation;
  conversation.add_system(at_key(body, "system"));
  for (size_t i = 0; i < messages->size(); ++i)
    conversation.add((*messages)[i], fmt::format("messages[{}]", i));
  chat["messages"] = conversation.take(use);
  if (const json* stops = fields.find("stop_sequences")) chat["stop"] = *stops;
  if (const json* tools = fields.find("tools")) chat["tools"] = tools_of(*tools);
  if (const json* choice = fields.find("tool_choice")) read_choice(*choice, chat);
  if (const json* thinking = fields.find("thinking")) read_thinking(*thinking, chat);
  if (const json* config = fields.find("output_config")) read_format(at_key(*config, "format"), chat);
  const json& user = at_key(at_key(body, "metadata"), "user_id");
  if (user.is_string()) chat["user_id"] = user;
  return chat;
}

}  // namespace hadal::serve
