#include "hadal/serve/response_writer.h"

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/translation.h"

namespace hadal::serve {
namespace {

using Kind = ChatDelta::Kind;

// What the request says, or what it means where it does not say.
json or_default(const json& body, const char* key, json otherwise) {
  const json& value = at_key(body, key);
  if (!value.is_null()) return value;
  return otherwise;
}

json text_part(bool thoughts, const std::string& text) {
  if (thoughts) return {{"type", "reasoning_text"}, {"text", text}};
  return {
      {"type", "output_text"}, {"text", text}, {"annotations", json::array()}, {"logprobs", json::array()}};
}

json usage_of(const ChatEnd& end) {
  return {{"input_tokens", end.prompt_tokens},
          {"input_tokens_details", {{"cached_tokens", end.cached_tokens}, {"cache_write_tokens", 0}}},
          {"output_tokens", end.completion_tokens},
          {"output_tokens_details", {{"reasoning_tokens", end.reasoning_tokens}}},
          {"total_tokens", end.prompt_tokens + end.completion_tokens}};
}

const char* item_type(Kind kind) {
  if (kind == Kind::kReasoning) return "reasoning";
  return kind == Kind::kContent ? "message" : "function_call";
}

}  // namespace

ResponseWriter::ResponseWriter(const json& body, const ResponseFrame& frame) {
  const json plain_text{{"format", {{"type", "text"}}}};
  const json no_effort{{"effort", nullptr}, {"summary", nullptr}};
  response_ = {{"id", frame.id},
               {"object", "response"},
               {"created_at", frame.created_at},
               {"status", "in_progress"},
               {"background", false},
               {"error", nullptr},
               {"incomplete_details", nullptr},
               {"instructions", at_key(body, "instructions")},
               {"max_output_tokens", at_key(body, "max_output_tokens")},
               {"metadata", or_default(body, "metadata", json::object())},
               {"model", frame.model},
               {"output", json::array()},
               {"parallel_tool_calls", or_default(body, "parallel_tool_calls", true)},
               {"previous_response_id", at_key(body, "previous_response_id")},
               {"reasoning", or_default(body, "reasoning", no_effort)},
               {"store", or_default(body, "store", true)},
               {"temperature", frame.temperature},
               {"text", or_default(body, "text", plain_text)},
               {"tool_choice", or_default(body, "tool_choice", "auto")},
               {"tools", or_default(body, "tools", json::array())},
               {"top_p", frame.top_p},
               {"truncation", "disabled"},
               {"usage", nullptr}};
}

void ResponseWriter::add(json event, std::vector<json>& events) {
  event["sequence_number"] = next_number_++;
  events.push_back(std::move(event));
}

void ResponseWriter::start(std::vector<json>& events) {
  add({{"type", "response.created"}, {"response", response_}}, events);
  add({{"type", "response.in_progress"}, {"response", response_}}, events);
}

json ResponseWriter::about_item(std::string type) const {
  return {{"type", std::move(type)}, {"item_id", item_["id"]}, {"output_index", response_["output"].size()}};
}

json ResponseWriter::about_part(std::string type) const {
  json event = about_item(std::move(type));
  event["content_index"] = 0;
  return event;
}

void ResponseWriter::take(const ChatDelta& delta, std::vector<json>& events) {
  const bool begins = delta.kind == Kind::kCallBegin;
  if (begins || item_.is_null() || item_["type"] != item_type(delta.kind)) open(delta, events);
  if (begins) return;
  text_ += delta.text;
  json event;
  if (delta.kind == Kind::kArguments) {
    event = about_item("response.function_call_arguments.delta");
  } else {
    const bool thoughts = delta.kind == Kind::kReasoning;
    event = about_part(thoughts ? "response.reasoning_text.delta" : "response.output_text.delta");
    if (!thoughts) event["logprobs"] = json::array();
  }
  event["delta"] = delta.text;
  add(std::move(event), events);
}

void ResponseWriter::open(const ChatDelta& delta, std::vector<json>& events) {
  close("completed", events);
  const size_t index = response_["output"].size();
  const auto id = [&](std::string_view kind) {
    return fmt::format("{}_{}_{}", kind, response_["id"].get_ref<const std::string&>(), index);
  };
  if (delta.kind == Kind::kReasoning) {
    item_ = {{"id", id("rs")}, {"type", "reasoning"}, {"status", "in_progress"}};
    item_["summary"] = json::array();
    item_["content"] = json::array();
  } else if (delta.kind == Kind::kContent) {
    item_ = {{"id", id("msg")}, {"type", "message"}, {"status", "in_progress"}, {"role", "assistant"}};
    item_["content"] = json::array();
  } else {
    item_ = {{"id", id("fc")},           {"type", "function_call"}, {"status", "in_progress"},
             {"call_id", delta.call_id}, {"name", delta.text},      {"arguments", ""}};
  }
  add({{"type", "response.output_item.added"}, {"output_index", index}, {"item", item_}}, events);
  if (delta.kind == Kind::kCallBegin) return;
  json event = about_part("response.content_part.added");
  event["part"] = text_part(delta.kind == Kind::kReasoning, "");
  add(std::move(event), events);
}

void ResponseWriter::close(const char* status, std::vector<json>& events) {
  if (item_.is_null()) return;
  const std::string text = std::exchange(text_, {});
  item_["status"] = status;
  if (item_["type"] == "function_call") {
    json event = about_item("response.function_call_arguments.done");
    event["name"] = item_["name"];
    event["arguments"] = item_["arguments"] = text;
    add(std::move(event), events);
  } else {
    const bool thoughts = item_["type"] == "reasoning";
    json event = about_part(thoughts ? "response.reasoning_text.done" : "response.output_text.done");
    event["text"] = text;
    if (!thoughts) event["logprobs"] = json::array();
    add(std::move(event), events);
    json part = about_part("response.content_part.done");
    part["part"] = text_part(thoughts, text);
    item_["content"].push_back(part["part"]);
    add(std::move(part), events);
  }
  const size_t index = response_["output"].size();
  add({{"type", "response.output_item.done"}, {"output_index", index}, {"item", item_}}, events);
  response_["output"].push_back(std::exchange(item_, json()));
}

void ResponseWriter::end(const char* status, std::vector<json>& events) {
  response_["status"] = status;
  add({{"type", fmt::format("response.{}", status)}, {"response", response_}}, events);
}

void ResponseWriter::finish(const ChatEnd& end_of_chat, std::vector<json>& events) {
  const char* status = end_of_chat.finish_reason == "length" ? "incomplete" : "completed";
  close(status, events);
  response_["usage"] = usage_of(end_of_chat);
  if (end_of_chat.finish_reason == "length")
    response_["incomplete_details"] = json{{"reason", "max_output_tokens"}};
  end(status, events);
}

void ResponseWriter::fail(const std::string& message, std::vector<json>& events) {
  close("incomplete", events);
  response_["error"] = {{"code", "server_error"}, {"message", message}};
  end("failed", events);
}

}  // namespace hadal::serve
