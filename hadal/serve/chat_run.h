#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hadal/serve/bill.h"
#include "hadal/serve/chat_delta.h"
#include "hadal/serve/chat_request.h"
#include "hadal/serve/choice.h"
#include "hadal/serve/generation.h"
#include "hadal/text/reasoning.h"
#include "hadal/text/tool_calls.h"

namespace hadal::serve {

struct ToolCall {
  std::string id, name, arguments;
};

/// One message as it comes: Choice's text told apart into thoughts, answer and calls. Pure.
class ChatAnswer {
 public:
  ChatAnswer(const Service& service, const ChatRequest& request);

  void take(const engine::Event& event);
  /// What is new since the last call.
  std::vector<ChatDelta> take_deltas();
  /// OpenAI's logprobs.content of the tokens that are new since the last call; null if they were not asked for.
  json take_logprobs();

  const Choice& choice() const { return choice_; }
  bool is_finished() const { return choice_.is_finished(); }
  std::string_view finish_reason() const;
  int64_t num_reasoning_tokens() const { return num_reasoning_tokens_; }

  // The whole message so far.
  const std::string& content() const { return content_; }
  const std::string& reasoning() const { return reasoning_; }
  const std::vector<ToolCall>& calls() const { return calls_; }

 private:
  void sort(const std::vector<text::ReasoningSplitter::Piece>& pieces);
  void add_answer(const std::string& text);
  void add_calls(const std::vector<text::ToolPiece>& pieces);
  void add(ChatDelta delta);

  const Service& service_;
  const ChatRequest& request_;
  Choice choice_;
  text::ReasoningSplitter splitter_;
  text::ToolCallParser calls_parser_;
  bool thinking_, ended_ = false;
  int64_t num_reasoning_tokens_ = 0;
  std::string content_, reasoning_;
  std::vector<ToolCall> calls_;
  std::vector<ChatDelta> deltas_;
};

/// A chat request's answers, run to their end. `request` is kept.
class ChatRun {
 public:
  ChatRun(Exchange& http, Service& service, ChatRequest request);

  /// Submits all choices; then calls on_news whenever some have something new, with nothing when nothing has come for a while,
  /// until all have ended. False: the client has gone, and all has been cancelled. Throws ApiError.
  asio::awaitable<bool> run(std::function<asio::awaitable<void>(bool news)> on_news);

  std::vector<ChatAnswer>& answers() { return answers_; }
  const ChatRequest& request() const { return request_; }
  json usage() const;
  /// How the first answer ended; what it took so far, while it runs.
  ChatEnd end() const;
  int64_t num_cached_tokens() const { return answers_.front().choice().num_cached_tokens(); }
  int64_t num_completion_tokens() const;
  int64_t num_reasoning_tokens() const;

 private:
  void submit();

  Exchange& http_;
  Service& service_;
  ChatRequest request_;
  std::vector<ChatAnswer> answers_;
  Bill bill_;
  Generation generation_;
  size_t open_ = 0;
};

}  // namespace hadal::serve
