#include "hadal/serve/response_writer.h"

#include <gtest/gtest.h>

namespace hadal::serve {
namespace {

using Kind = ChatDelta::Kind;

const ResponseFrame kFrame{"resp_1", "m", 1700000000, 0.5, 0.9};

ChatEnd ended(const char* finish_reason) {
  return {finish_reason, nullptr, 10, 4, 7, 3};
}

std::vector<std::string> types_of(const std::vector<json>& events) {
  std::vector<std::string> types;
  for (const json& event : events) types.push_back(event["type"]);
  return types;
}

TEST(ResponseWriter, WritesTheEventsOfThoughtsTextAndACall) {
  ResponseWriter writer(json::parse(R"({"input": "a"})"), kFrame);
  std::vector<json> events;
  writer.start(events);
  writer.take({Kind::kReasoning, "hm"}, events);
  writer.take({Kind::kContent, "I "}, events);
  writer.take({Kind::kContent, "look."}, events);
  writer.take({Kind::kCallBegin, "w", 0, "call_1"}, events);
  writer.take({Kind::kArguments, "{\"a\"", 0}, events);
  writer.take({Kind::kArguments, ":1}", 0}, events);
  writer.finish(ended("tool_calls"), events);
  const std::vector<std::string> expected = {"response.created",
                                             "response.in_progress",
                                             "response.output_item.added",
                                             "response.content_part.added",
                                             "response.reasoning_text.delta",
                                             "response.reasoning_text.done",
                                             "response.content_part.done",
                                             "response.output_item.done",
                                             "response.output_item.added",
                                             "response.content_part.added",
                                             "response.output_text.delta",
                                             "response.output_text.delta",
                                             "response.output_text.done",
                                             "response.content_part.done",
                                             "response.output_item.done",
                                             "response.output_item.added",
                                             "response.function_call_arguments.delta",
                                             "response.function_call_arguments.delta",
                                             "response.function_call_arguments.done",
                                             "response.output_item.done",
                                             "response.completed"};
  EXPECT_EQ(types_of(events), expected);
  for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i]["sequence_number"], i);
  EXPECT_EQ(events[8]["item"],
            json::parse(R"({"id": "msg_resp_1_1", "type": "message", "status": "in_progress",
      "role": "assistant", "content": []})"));
  EXPECT_EQ(events[10], json::parse(R"({"type": "response.output_text.delta", "item_id": "msg_resp_1_1",
      "output_index": 1, "content_index": 0, "logprobs": [], "delta": "I ", "sequence_number": 10})"));
  EXPECT_EQ(events[18],
            json::parse(R"({"type": "response.function_call_arguments.done", "item_id": "fc_resp_1_2",
      "output_index": 2, "name": "w", "arguments": "{\"a\":1}", "sequence_number": 18})"));
  EXPECT_EQ(events.back()["response"]["output"], json::parse(R"([
      {"id": "rs_resp_1_0", "type": "reasoning", "status": "completed", "summary": [],
       "content": [{"type": "reasoning_text", "text": "hm"}]},
      {"id": "msg_resp_1_1", "type": "message", "status": "completed", "role": "assistant",
       "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}]},
      {"id": "fc_resp_1_2", "type": "function_call", "status": "completed", "call_id": "call_1", "name": "w",
       "arguments": "{\"a\":1}"}])"));
}

TEST(ResponseWriter, SaysWhatTheRequestMeans) {
  const ResponseWriter plain(json::parse(R"({"input": "a"})"), kFrame);
  EXPECT_EQ(plain.response(), json::parse(R"({"id": "resp_1", "object": "response", "created_at": 1700000000,
      "status": "in_progress", "background": false, "error": null, "incomplete_details": null,
      "instructions": null,
      "max_output_tokens": null, "metadata": {}, "model": "m", "output": [], "parallel_tool_calls": true,
      "previous_response_id": null, "reasoning": {"effort": null, "summary": null}, "store": true,
      "temperature": 0.5,
      "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 0.9,
      "truncation": "disabled", "usage": null})"));
  const ResponseWriter other(json::parse(R"({"input": "a", "store": false, "metadata": {"k": "v"},
      "previous_response_id": "resp_0", "tool_choice": "none"})"),
                             kFrame);
  EXPECT_EQ(other.response()["store"], false);
  EXPECT_EQ(other.response()["metadata"], json::parse(R"({"k": "v"})"));
  EXPECT_EQ(other.response()["previous_response_id"], "resp_0");
  EXPECT_EQ(other.response()["tool_choice"], "none");
}

TEST(ResponseWriter, AnAnswerWithoutRoomIsIncomplete) {
  ResponseWriter writer(json::parse(R"({"input": "a"})"), kFrame);
  std::vector<json> events;
  writer.take({Kind::kContent, "a"}, events);
  writer.finish(ended("length"), events);
  EXPECT_EQ(events.back()["type"], "response.incomplete");
  const json& response = writer.response();
  EXPECT_EQ(response["status"], "incomplete");
  EXPECT_EQ(response["incomplete_details"], json::parse(R"({"reason": "max_output_tokens"})"));
  EXPECT_EQ(response["output"][0]["status"], "incomplete");
  EXPECT_EQ(response["usage"], json::parse(R"({"input_tokens": 10,
      "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0}, "output_tokens": 7,
      "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 17})"));
}

TEST(ResponseWriter, AFailureIsTheLastEvent) {
  ResponseWriter writer(json::parse(R"({"input": "a"})"), kFrame);
  std::vector<json> events;
  writer.take({Kind::kContent, "a"}, events);
  writer.fail("broken", events);
  EXPECT_EQ(events.back()["type"], "response.failed");
  EXPECT_EQ(writer.response()["status"], "failed");
  EXPECT_EQ(writer.response()["error"], json::parse(R"({"code": "server_error", "message": "broken"})"));
}

TEST(ResponseWriter, AnEmptyAnswerHasNoItems) {
  ResponseWriter writer(json::parse(R"({"input": "a"})"), kFrame);
  std::vector<json> events;
  writer.finish(ended("stop"), events);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0]["response"]["output"], json::array());
}

}  // namespace
}  // namespace hadal::serve
