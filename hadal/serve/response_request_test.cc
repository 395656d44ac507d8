#include "hadal/serve/response_request.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

json translated(const std::string& text, const char* earlier = "[]") {
  const json body = json::parse(text);
  return chat_of_responses(body, json::parse(earlier));
}

std::string refusal(const std::string& text, int status = 400) {
  try {
    translated(text);
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status(), status) << e.what();
    return e.what();
  }
  return "";
}

TEST(ResponseRequest, TakesPlainTextAndSampling) {
  EXPECT_EQ(translated(R"({"model": "m", "input": "hi", "instructions": "be brief", "max_output_tokens": 9,
      "temperature": 0.5, "top_p": 0.9, "stream": true, "parallel_tool_calls": false,
      "reasoning": {"effort": "low"},
      "include": ["reasoning.encrypted_content"], "store": false, "user": "u"})"),
            json::parse(R"({"model": "m", "temperature": 0.5, "top_p": 0.9, "stream": true,
      "parallel_tool_calls": false, "max_tokens": 9, "messages": [{"role": "system", "content": "be brief"},
      {"role": "user", "content": "hi"}], "reasoning_effort": "low"})"));
}

TEST(ResponseRequest, MakesMessagesOfItems) {
  const json chat = translated(R"({"input": [
      {"role": "developer", "content": "d"},
      {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"},
      {"type": "input_text", "text": "b"}]},
      {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "s"}],
       "content": [{"type": "reasoning_text", "text": "hm"}]},
      {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look"},
       {"type": "refusal", "refusal": "."}]},
      {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1}"},
      {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
      {"type": "function_call_output", "call_id": "c1", "output": "1"},
      {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
      {"type": "reasoning", "summary": [{"type": "summary_text", "text": "again"}], "content": []},
      {"type": "function_call", "call_id": "c3", "name": "f", "arguments": "{}"},
      {"type": "function_call_output", "call_id": "c3", "output": "3"},
      {"type": "reasoning", "summary": [{"type": "summary_text", "text": "came to nothing"}]},
      {"role": "user", "content": "so?"}]})");
  EXPECT_EQ(chat["messages"], json::parse(R"([{"role": "developer", "content": "d"},
      {"role": "user", "content": "a\nb"},
      {"role": "assistant", "content": "I look.", "reasoning_content": "hm", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
      {"role": "tool", "tool_call_id": "c1", "content": "1"},
      {"role": "tool", "tool_call_id": "c2", "content": "2"},
      {"role": "assistant", "content": "", "reasoning_content": "again", "tool_calls": [
        {"id": "c3", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
      {"role": "tool", "tool_call_id": "c3", "content": "3"},
      {"role": "user", "content": "so?"}])"));
}

TEST(ResponseRequest, GoesOnFromEarlierItems) {
  const json chat = translated(R"({"input": "b", "instructions": "s"})", R"([{"role": "user", "content": "a"},
      {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A"}]}])");
  EXPECT_EQ(chat["messages"],
            json::parse(R"([{"role": "system", "content": "s"}, {"role": "user", "content": "a"},
      {"role": "assistant", "content": "A"}, {"role": "user", "content": "b"}])"));
}

TEST(ResponseRequest, InputIsAListOfItems) {
  EXPECT_EQ(input_items(json::parse(R"({"input": "hi"})")),
            json::parse(R"([{"type": "message", "role": "user", "content": "hi"}])"));
  EXPECT_EQ(input_items(json::parse(R"({"input": [{"role": "user", "content": "hi"}]})")),
            json::parse(R"([{"role": "user", "content": "hi"}])"));
}

TEST(ResponseRequest, TakesToolsAndChoices) {
  const auto with = [](const char* choice) {
    return translated(
        std::string(R"({"input": "a", "tools": [{"type": "web_search"}, {"type": "function", "name": "f",
        "description": "d", "parameters": {"type": "object"}, "strict": null}], "tool_choice": )") +
        choice + "}");
  };
  EXPECT_EQ(with("\"auto\"")["tools"], json::parse(R"([{"type": "function", "function":
      {"name": "f", "description": "d", "parameters": {"type": "object"}}}])"));
  EXPECT_EQ(with("\"required\"")["tool_choice"], "required");
  EXPECT_EQ(with(R"({"type": "function", "name": "f"})")["tool_choice"],
            json::parse(R"({"type": "function", "function": {"name": "f"}})"));
}

TEST(ResponseRequest, TakesFormats) {
  const auto format = [](const char* text) {
    return translated(std::string(R"({"input": "a", "text": {"format": )") + text + "}}");
  };
  EXPECT_FALSE(format(R"({"type": "text"})").contains("response_format"));
  EXPECT_EQ(format(R"({"type": "json_object"})")["response_format"],
            json::parse(R"({"type": "json_object"})"));
  const json schema =
      format(R"({"type": "json_schema", "name": "n", "schema": {"type": "object"}})")["response_format"];
  EXPECT_EQ(schema["type"], "json_schema");
  EXPECT_EQ(schema["json_schema"]["schema"], json::parse(R"({"type": "object"})"));
}

TEST(ResponseRequest, RefusesWhatItCannotDo) {
  const auto names = [](const std::string& text, const char* path, int status = 400) {
    EXPECT_TRUE(refusal(text, status).starts_with(path)) << text << "\n" << refusal(text, status);
  };
  const auto field = [&](const std::string& text, const char* path, int status = 400) {
    names(R"({"input": "a", )" + text + "}", path, status);
  };
  names("{}", "input: ");
  names(R"({"input": []})", "input: ");
  names(R"({"input": [7]})", "input[0]: ");
  names(R"({"input": [{"type": "item_reference", "id": "x"}]})", "input[0].type: ");
  names(R"({"input": [{"role": "robot", "content": "a"}]})", "input[0].role: ");
  names(R"({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]})",
        "input[0].content[0].type: ");
  names(R"({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]})", "input[0].arguments: ");
  names(R"({"input": [{"type": "function_call_output", "output": "1"}]})", "input[0].call_id: ");
  field(R"("max_output_tokens": 0)", "max_output_tokens: ", 422);
  field(R"("background": true)", "background: ");
  field(R"("truncation": "auto")", "truncation: ");
  field(R"("conversation": "c")", "conversation: ");
  field(R"("prompt": {"id": "p"})", "prompt: ");
  field(R"("top_logprobs": 3)", "top_logprobs: ", 422);
  field(R"("tools": [{"type": "file_search"}])", "tools[0].type: ");
  field(R"("tools": [{"type": "function"}])", "tools[0].name: ");
  field(R"("tool_choice": {"type": "mcp"})", "tool_choice: ");
  field(R"("text": {"format": {"type": "grammar"}})", "text.format.type: ");
  field(R"("reasoning": {"effort": 1})", "reasoning.effort: ");
}

}  // namespace
}  // namespace hadal::serve
