#include "hadal/serve/chat_request.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/api_error.h"
#include "hadal/serve/endpoint_rules.h"
#include "hadal/text/messages.h"
#include "hadal/text/reasoning.h"

namespace hadal::serve {
namespace {

// What the request says about thinking; DeepSeek's two model names are one model with and without.
std::optional<bool> thinking_wish(const FieldReader& fields) {
  if (const json* thinking = fields.find("thinking")) {
    const json type = thinking->value("type", json());
    if (type != "enabled" && type != "disabled" && type != "adaptive")
      fields.refuse(400, "thinking", "expected type enabled or disabled");
    if (type != "adaptive") return type == "enabled";
  }
  if (const json* args = fields.find("chat_template_kwargs")) {
    for (const char* name : {"thinking", "enable_thinking"}) {
      const auto found = args->find(name);
      if (found != args->end() && found->is_boolean()) return found->get<bool>();
    }
  }
  const auto effort = fields.string("reasoning_effort");
  if (effort && *effort == "none") return false;
  const auto model = fields.string("model").value_or("");
  if (model == "deepseek-reasoner") return true;
  if (model == "deepseek-chat") return false;
  return effort ? std::optional(true) : std::nullopt;
}

// An assistant's message at the end that the answer goes on with: DeepSeek's `prefix`, vLLM's continue_final_message.
std::optional<std::string> take_prefix(const FieldReader& fields, json& messages) {
  json& last = messages.back();
  const bool prefix = last.value("prefix", json()) == true;
  if (!prefix && !fields.boolean("continue_final_message").value_or(false)) return std::nullopt;
  if (last["role"] != "assistant")
    throw ApiError(400, "messages: expected the last one to be the assistant's, which is to be continued",
                   "messages");
  const json content = last.value("content", json());
  const json thoughts = last.value("reasoning_content", json());
  std::string text = content.is_string() ? content.get<std::string>() : "";
  if (thoughts.is_string() && !thoughts.get_ref<const std::string&>().empty())
    text = "<think>" + thoughts.get<std::string>() + "</think>" + text;
  messages.erase(messages.size() - 1);
  return text;
}

// The rendered conversation with the beginning of the answer: thoughts that the template opened are closed before it.
std::string with_prefix(std::string prompt, const std::string& prefix) {
  constexpr std::string_view kOpen = "<think>";
  if (!text::ends_in_thinking(prompt)) return prompt + prefix;
  if (prefix.starts_with(kOpen)) return prompt + prefix.substr(kOpen.size());
  return prompt + "</think>" + prefix;
}

struct Tools {
  json list;
  text::ToolChoice choice;
};

Tools read_tools(const FieldReader& fields, const Service& service, ChatRequest& request) {
  Tools tools;
  const json* given = fields.find("tools");
  tools.list = text::normalise_tools(given ? *given : json());
  const json* choice = fields.find("tool_choice");
  tools.choice = text::read_tool_choice(choice ? *choice : json(), tools.list);
  tools.choice.parallel = fields.boolean("parallel_tool_calls").value_or(true);
  using Kind = text::ToolChoice::Kind;
  if (tools.choice.kind == Kind::kNone) tools.list = json::array();
  if (tools.list.empty()) return tools;
  request.calls_tools = true;
  request.options.skip_special = false;  // calls are marked by special tokens in some tokenizers
  const bool strict = std::ranges::any_of(
      tools.list, [](const json& tool) { return tool["function"].value("strict", json()) == true; });
  if (tools.choice.kind == Kind::kAuto && !strict && tools.choice.parallel) return tools;
  const std::string grammar =
      text::tool_grammar(service.traits.tool_format, tools.list, tools.choice, service.tokenizer);
  if (grammar.empty()) return tools;
  if (request.options.request.constraint)
    throw ApiError(
        400, "tool_choice: the calls constrain the answer, and response_format or another field does so too",
        "tool_choice");
  request.options.request.constraint = Constraint{text::Grammar::Kind::kLark, grammar};
  return tools;
}

std::string render(const FieldReader& fields, const Service& service, ChatRequest& request) {
  if (!service.chat_template)
    throw ApiError(400, "This model has no chat template: it completes text, at /v1/completions.");
  const Tools tools = read_tools(fields, service, request);
  const json* given = fields.find("messages");
  if (!given) throw ApiError(400, "messages: expected a list of messages, found nothing", "messages");
  json messages = *given;
  for (const json& message : messages) {
    if (!message.is_object())
      throw ApiError(400, fmt::format("messages: expected objects, found {}", message.type_name()),
                     "messages");
  }
  const auto prefix = take_prefix(fields, messages);
  messages = text::normalise_messages(messages, service.traits);
  text::RenderOptions render;
  render.add_generation_prompt = fields.boolean("add_generation_prompt").value_or(true);
  if (!tools.list.empty() && service.traits.renders_tools) {
    render.tools = &tools.list;
  } else if (!tools.list.empty()) {
    messages =
        text::with_tools(std::move(messages), text::tools_prompt(service.traits.tool_format, tools.list));
  }
  json args = text::thinking_args(service.traits, thinking_wish(fields));
  if (const json* more = fields.find("chat_template_kwargs")) args.update(*more);
  if (!args.empty()) render.template_args = &args;
  std::string prompt = service.chat_template->render(messages, render);
  return prefix ? with_prefix(std::move(prompt), *prefix) : prompt;
}

}  // namespace

ChatRequest read_chat_prompt(const json& body, const Service& service) {
  const FieldReader fields(body, chat_rules());
  check_model(fields, service);
  ChatRequest request;
  request.options = read_generation(fields, service);
  const bool logprobs = fields.boolean("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs");
  if (top && *top > 0 && !logprobs)
    throw ApiError(400, "top_logprobs: expected logprobs to be true", "top_logprobs");
  if (logprobs) request.options.request.sampling.num_logprobs = static_cast<int32_t>(top.value_or(0));
  const std::string prompt = render(fields, service, request);
  request.prompt = service.tokenizer.encode(prompt);
  if (request.prompt.empty())
    throw ApiError(400, "messages: the chat template makes nothing of them", "messages");
  request.options.request.thinks = text::ends_in_thinking(prompt);
  request.separate_reasoning = fields.boolean("separate_reasoning").value_or(true);
  request.include_reasoning = fields.boolean("include_reasoning").value_or(true);
  request.options.request.thinking_budget = fields.integer("thinking_token_budget");
  return request;
}

ChatRequest read_chat_request(const json& body, const Service& service) {
  ChatRequest request = read_chat_prompt(body, service);
  const auto wanted = request.options.max_tokens;
  if (wanted && *wanted == 0) throw ApiError(422, "max_tokens: expected at least 1, found 0", "max_tokens");
  request.max_tokens = answer_room(service, std::ssize(request.prompt), wanted);
  return request;
}

}  // namespace hadal::serve
