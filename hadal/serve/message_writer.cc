#include "hadal/serve/message_writer.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "hadal/serve/message_request.h"

namespace hadal::serve {
namespace {

json usage_of(const ChatEnd& end) {
  return {{"input_tokens", end.prompt_tokens - end.cached_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", end.cached_tokens},
          {"output_tokens", end.completion_tokens},
          {"output_tokens_details", {{"thinking_tokens", end.reasoning_tokens}}}};
}

const char* stop_reason(const ChatEnd& end) {
  if (end.stop_reason.is_string()) return "stop_sequence";
  if (end.finish_reason == "length") return "max_tokens";
  return end.finish_reason == "tool_calls" ? "tool_use" : "end_turn";
}

json stop_sequence(const ChatEnd& end) {
  return end.stop_reason.is_string() ? end.stop_reason : json();
}

json input_of(const std::string& arguments) {
  try {
    json input = parse_json(arguments, "arguments", ErrorKind::kRequest);
    if (input.is_object()) return input;
  } catch (const Error&) {  // the model wrote something else
  }
  return {{kInvalidJson, arguments}};
}

struct BlockForm {
  const char *block, *delta, *text;  // types, and where the text is in both
};

BlockForm form_of(ChatDelta::Kind kind) {
  if (kind == ChatDelta::Kind::kReasoning) return {"thinking", "thinking_delta", "thinking"};
  if (kind == ChatDelta::Kind::kContent) return {"text", "text_delta", "text"};
  return {"tool_use", "input_json_delta", "partial_json"};
}

}  // namespace

MessageWriter::MessageWriter(std::string id, std::string model)
    : id_(std::move(id)), model_(std::move(model)) {}

json MessageWriter::start(const ChatEnd& so_far) const {
  json message{{"id", id_},
               {"type", "message"},
               {"role", "assistant"},
               {"model", model_},
               {"content", content_},
               {"stop_reason", nullptr},
               {"stop_sequence", nullptr},
               {"usage", usage_of(so_far)}};
  return {{"type", "message_start"}, {"message", std::move(message)}};
}

void MessageWriter::take(const ChatDelta& delta, std::vector<json>& events) {
  const BlockForm form = form_of(delta.kind);
  if (delta.kind == ChatDelta::Kind::kCallBegin) {
    open({{"type", form.block}, {"id", delta.call_id}, {"name", delta.text}, {"input", json::object()}},
         events);
    return;
  }
  if (block_.is_null() || block_["type"] != form.block) {
    json block{{"type", form.block}, {form.text, ""}};
    if (delta.kind == ChatDelta::Kind::kReasoning) block["signature"] = "";
    open(std::move(block), events);
  }
  if (delta.kind == ChatDelta::Kind::kArguments) {
    arguments_ += delta.text;
  } else {
    block_[form.text].get_ref<std::string&>() += delta.text;
  }
  events.push_back({{"type", "content_block_delta"},
                    {"index", content_.size()},
                    {"delta", {{"type", form.delta}, {form.text, delta.text}}}});
}

void MessageWriter::open(json block, std::vector<json>& events) {
  close(events);
  block_ = std::move(block);
  events.push_back({{"type", "content_block_start"}, {"index", content_.size()}, {"content_block", block_}});
}

void MessageWriter::close(std::vector<json>& events) {
  if (block_.is_null()) return;
  if (block_["type"] == "thinking") {
    block_["signature"] = id_;
    events.push_back({{"type", "content_block_delta"},
                      {"index", content_.size()},
                      {"delta", {{"type", "signature_delta"}, {"signature", id_}}}});
  }
  if (block_["type"] == "tool_use") block_["input"] = input_of(std::exchange(arguments_, {}));
  events.push_back({{"type", "content_block_stop"}, {"index", content_.size()}});
  content_.push_back(std::exchange(block_, json()));
}

void MessageWriter::finish(const ChatEnd& end, std::vector<json>& events) {
  close(events);
  events.push_back({{"type", "message_delta"},
                    {"delta", {{"stop_reason", stop_reason(end)}, {"stop_sequence", stop_sequence(end)}}},
                    {"usage", usage_of(end)}});
  events.push_back(json{{"type", "message_stop"}});
}

json MessageWriter::message(const ChatEnd& end) const {
  return {{"id", id_},
          {"type", "message"},
          {"role", "assistant"},
          {"model", model_},
          {"content", content_},
          {"stop_reason", stop_reason(end)},
          {"stop_sequence", stop_sequence(end)},
          {"usage", usage_of(end)}};
}

}  // namespace hadal::serve
