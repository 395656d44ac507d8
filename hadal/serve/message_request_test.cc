#include "hadal/serve/message_request.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

json translated(const char* text, MessageUse use = MessageUse::kAnswer) {
  const json body = json::parse(text);
  return chat_of_messages(body, use);
}

// The message of the refusal; empty if there is none.
std::string refusal(const char* text, int status = 400, MessageUse use = MessageUse::kAnswer) {
  try {
    translated(text, use);
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status(), status) << e.what();
    return e.what();
  }
  return "";
}

TEST(MessageRequest, TakesPlainTextAndSampling) {
  EXPECT_EQ(
      translated(
          R"({"model": "m", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stream": true,
      "stop_sequences": ["a", "b"], "metadata": {"user_id": "u"}, "system": "be brief",
      "service_tier": "auto",
      "messages": [{"role": "user", "content": "hi"}]})"),
      json::parse(R"({"model": "m", "temperature": 0.5, "top_p": 0.9, "top_k": 5, "max_tokens": 9,
      "stream": true, "messages": [{"role": "system", "content": "be brief"}, {"role": "user",
      "content": "hi"}],
      "stop": ["a", "b"], "user_id": "u"})"));
}

TEST(MessageRequest, JoinsBlocksAndTurnsOfOneRole) {
  const json chat = translated(R"({"max_tokens": 9,
      "system": [{"type": "text", "text": "s1", "cache_control": {"type": "ephemeral"}}, {"type": "text",
      "text": "s2"}],
      "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text",
      "text": "b"}]},
                   {"role": "user", "content": "c"}]})");
  EXPECT_EQ(chat["messages"], json::parse(R"([{"role": "system", "content": "s1\ns2"},
                                              {"role": "user", "content": "a\nb\nc"}])"));
}

TEST(MessageRequest, TakesAToolsRoundTrip) {
  const json chat = translated(R"({"max_tokens": 9, "messages": [
      {"role": "user", "content": "weather?"},
      {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "redacted_thinking", "data": "?"}, {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t1", "name": "w", "input": {"city": "Rome", "days": 2}},
        {"type": "tool_use", "id": "t2", "name": "w", "input": {"INVALID_JSON": "{\"city"}}]},
      {"role": "user", "content": [{"type": "text", "text": "now?"},
        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sun"}]},
        {"type": "tool_result", "tool_use_id": "t2", "content": "bad", "is_error": true}]}]})");
  EXPECT_EQ(chat["messages"], json::parse(R"([{"role": "user", "content": "weather?"},
      {"role": "assistant", "content": "I look.", "reasoning_content": "hm", "tool_calls": [
        {"id": "t1", "type": "function", "function": {"name": "w",
      "arguments": "{\"city\":\"Rome\",\"days\":2}"}},
        {"id": "t2", "type": "function", "function": {"name": "w", "arguments": "{\"city"}}]},
      {"role": "tool", "tool_call_id": "t1", "content": "sun"},
      {"role": "tool", "tool_call_id": "t2", "content": "Error: bad"},
      {"role": "user", "content": "now?"}])"));
}

TEST(MessageRequest, AnAssistantsTurnAtTheEndIsContinued) {
  const json chat = translated(R"({"max_tokens": 9, "messages": [{"role": "user", "content": "a"},
      {"role": "assistant", "content": "{"}]})");
  EXPECT_EQ(chat["messages"][1], json::parse(R"({"role": "assistant", "content": "{", "prefix": true})"));
  constexpr auto kOpenCall = R"({"max_tokens": 9, "messages": [
      {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "w", "input": {}}]}]})";
  EXPECT_NE(refusal(kOpenCall).find("tool_result"), std::string::npos);
  EXPECT_EQ(refusal(kOpenCall, 400, MessageUse::kCount), "");
}

TEST(MessageRequest, TakesToolsAndChoices) {
  const std::string head = R"({"max_tokens": 9, "messages": [{"role": "user", "content": "a"}], "tools": [
      {"name": "w", "description": "d", "input_schema": {"type": "object"}, "strict": true},
      {"type": "custom", "name": "v", "input_schema": {"type": "object"}}], "tool_choice": )";
  const auto with = [&](const char* choice) { return translated((head + choice + "}").c_str()); };
  EXPECT_EQ(with(R"({"type": "auto"})")["tools"], json::parse(R"([
      {"type": "function", "function": {"name": "w", "description": "d", "parameters": {"type": "object"},
      "strict": true}},
      {"type": "function", "function": {"name": "v", "parameters": {"type": "object"}}}])"));
  EXPECT_EQ(with(R"({"type": "auto"})")["tool_choice"], "auto");
  EXPECT_FALSE(with(R"({"type": "auto"})").contains("parallel_tool_calls"));
  EXPECT_EQ(with(R"({"type": "none"})")["tool_choice"], "none");
  const json any = with(R"({"type": "any", "disable_parallel_tool_use": true})");
  EXPECT_EQ(any["tool_choice"], "required");
  EXPECT_EQ(any["parallel_tool_calls"], false);
  EXPECT_EQ(with(R"({"type": "tool", "name": "v"})")["tool_choice"],
            json::parse(R"({"type": "function", "function": {"name": "v"}})"));
}

TEST(MessageRequest, TakesThinkingAndFormats) {
  const json chat = translated(R"({"max_tokens": 9, "messages": [{"role": "user", "content": "a"}],
      "thinking": {"type": "enabled", "budget_tokens": 1024},
      "output_config": {"effort": "high", "format": {"type": "json_schema",
      "schema": {"type": "object"}}}})");
  EXPECT_EQ(chat["thinking"], json::parse(R"({"type": "enabled"})"));
  EXPECT_EQ(chat["thinking_token_budget"], 1024);
  EXPECT_EQ(chat["response_format"]["type"], "json_schema");
  EXPECT_EQ(chat["response_format"]["json_schema"]["schema"], json::parse(R"({"type": "object"})"));
}

TEST(MessageRequest, CountingNeedsNoMaxTokens) {
  const json chat =
      translated(R"({"messages": [{"role": "user", "content": "a"}], "stream": true})", MessageUse::kCount);
  EXPECT_FALSE(chat.contains("stream"));
  EXPECT_EQ(chat["messages"].size(), 1U);
}

TEST(MessageRequest, RefusesWhatItCannotDo) {
  const auto names = [](const char* text, const char* path, int status = 400) {
    EXPECT_TRUE(refusal(text, status).starts_with(path)) << text << "\n" << refusal(text, status);
  };
  names(R"({"messages": [{"role": "user", "content": "a"}]})", "max_tokens: ");
  names(R"({"max_tokens": 0, "messages": []})", "messages: ", 422);
  names(R"({"max_tokens": 1})", "messages: ");
  names(R"({"max_tokens": 1, "messages": [7]})", "messages[0]: ");
  names(R"({"max_tokens": 1, "messages": [{"role": "robot", "content": "a"}]})", "messages[0].role: ");
  names(R"({"max_tokens": 1, "messages": [{"role": "user"}]})", "messages[0].content: ");
  names(R"({"max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]})",
        "messages[0].content[0].type: ");
  names(R"({"max_tokens": 1, "messages": [{"role": "user", "content": ["a"]}]})",
        "messages[0].content[0].type: ");
  names(R"({"max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "tool_result"}]}]})",
        "messages[0].content[0].tool_use_id: ");
  names(R"({"max_tokens": 1, "messages": [{"role": "assistant", "content": [
           {"type": "tool_use", "id": "t", "name": "f", "input": "x"}]}]})",
        "messages[0].content[0].input: ");
  constexpr auto kRest = R"("max_tokens": 1, "messages": [{"role": "user", "content": "a"}]})";
  const auto field = [&](const char* text, const char* path, int status = 400) {
    names((std::string("{") + text + ", " + kRest).c_str(), path, status);
  };
  field(R"("system": 7)", "system: ");
  field(R"("tools": [{"type": "bash_20250124", "name": "bash"}])", "tools[0].type: ");
  field(R"("tools": [{"name": "f"}])", "tools[0].input_schema: ");
  field(R"("tool_choice": {"type": "some"})", "tool_choice.type: ");
  field(R"("tool_choice": {"type": "tool"})", "tool_choice.name: ");
  field(R"("thinking": {"type": 7})", "thinking.type: ");
  field(R"("thinking": {"type": "enabled", "budget_tokens": 0})", "thinking.budget_tokens: ", 422);
  field(R"("mcp_servers": [{"url": "x"}])", "mcp_servers: ");
  field(R"("output_config": {"format": {"type": "regex"}})", "output_config.format.type: ");
  field(R"("stream": "yes")", "stream: ");
}

}  // namespace
}  // namespace hadal::serve
