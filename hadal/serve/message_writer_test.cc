#include "hadal/serve/message_writer.h"

#include <gtest/gtest.h>

namespace hadal::serve {
namespace {

using Kind = ChatDelta::Kind;

ChatEnd ended(const char* finish_reason, json stop_reason = nullptr) {
  return {finish_reason, std::move(stop_reason), 10, 4, 7, 3};
}

const std::vector<ChatDelta> kAll = {{Kind::kReasoning, "h"},
                                     {Kind::kReasoning, "m"},
                                     {Kind::kContent, "I look."},
                                     {Kind::kCallBegin, "w", 0, "call_1"},
                                     {Kind::kArguments, "{\"a\"", 0},
                                     {Kind::kArguments, ":1}", 0},
                                     {Kind::kCallBegin, "v", 1, "call_2"},
                                     {Kind::kArguments, "{}", 1}};

TEST(MessageWriter, WritesTheEventsOfAStream) {
  MessageWriter writer("msg_1", "m");
  std::vector<json> events{writer.start({"stop", nullptr, 10, 4, 0, 0})};
  for (const ChatDelta& delta : kAll) writer.take(delta, events);
  writer.finish(ended("tool_calls"), events);
  const json expected = json::parse(R"([
    {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
      "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 6,
      "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 0,
      "output_tokens_details": {"thinking_tokens": 0}}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "",
      "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "h"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "m"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "msg_1"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "I look."}},
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block":
      {"type": "tool_use", "id": "call_1", "name": "w", "input": {}}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta",
      "partial_json": "{\"a\""}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ":1}"}},
    {"type": "content_block_stop", "index": 2},
    {"type": "content_block_start", "index": 3, "content_block":
      {"type": "tool_use", "id": "call_2", "name": "v", "input": {}}},
    {"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_stop", "index": 3},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
      "usage": {"input_tokens": 6,
      "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 7,
      "output_tokens_details": {"thinking_tokens": 3}}},
    {"type": "message_stop"}])");
  EXPECT_EQ(json(events), expected);
}

TEST(MessageWriter, WritesTheWholeMessage) {
  MessageWriter writer("msg_1", "m");
  std::vector<json> events;
  for (const ChatDelta& delta : kAll) writer.take(delta, events);
  writer.finish(ended("tool_calls"), events);
  EXPECT_EQ(writer.message(ended("tool_calls")),
            json::parse(R"({"id": "msg_1", "type": "message", "role": "assistant",
    "model": "m", "content": [{"type": "thinking", "thinking": "hm", "signature": "msg_1"},
      {"type": "text", "text": "I look."}, {"type": "tool_use", "id": "call_1", "name": "w",
      "input": {"a": 1}},
      {"type": "tool_use", "id": "call_2", "name": "v", "input": {}}],
    "stop_reason": "tool_use", "stop_sequence": null, "usage": {"input_tokens": 6,
      "cache_creation_input_tokens": 0,
      "cache_read_input_tokens": 4, "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 3}}})"));
}

TEST(MessageWriter, ArgumentsThatAreNoObjectComeAsTheyAreWritten) {
  for (const char* arguments : {"{\"city\": \"Ro", "[1]", "", "{\"a\": 1, \"a\": 2}"}) {
    MessageWriter writer("msg_1", "m");
    std::vector<json> events;
    writer.take({Kind::kCallBegin, "w", 0, "call_1"}, events);
    writer.take({Kind::kArguments, arguments, 0}, events);
    writer.finish(ended("length"), events);
    const json message = writer.message(ended("length"));
    EXPECT_EQ(message["content"][0]["input"], (json{{"INVALID_JSON", arguments}}));
    EXPECT_EQ(message["stop_reason"], "max_tokens");
  }
}

TEST(MessageWriter, SaysWhyItEnded) {
  const auto message = [](const ChatEnd& end) { return MessageWriter("i", "m").message(end); };
  EXPECT_EQ(message(ended("stop"))["stop_reason"], "end_turn");
  EXPECT_EQ(message(ended("stop", 7))["stop_reason"], "end_turn");  // a token's id
  EXPECT_EQ(message(ended("length"))["stop_reason"], "max_tokens");
  EXPECT_EQ(message(ended("stop", "END"))["stop_reason"], "stop_sequence");
  EXPECT_EQ(message(ended("stop", "END"))["stop_sequence"], "END");
}

TEST(MessageWriter, AnEmptyAnswerHasNoBlocks) {
  MessageWriter writer("msg_1", "m");
  std::vector<json> events;
  writer.finish(ended("stop"), events);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0]["type"], "message_delta");
  EXPECT_EQ(writer.message(ended("stop"))["content"], json::array());
}

}  // namespace
}  // namespace hadal::serve
