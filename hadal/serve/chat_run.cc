#include "hadal/serve/chat_run.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <nlohmann/json.hpp>

namespace hadal::serve {

ChatAnswer::ChatAnswer(const Service& service, const ChatRequest& request)
    : service_(service),
      request_(request),
      choice_(service, request.options),
      splitter_(request.options.request.thinks),
      thinking_(request.options.request.thinks) {}

void ChatAnswer::take(const engine::Event& event) {
  choice_.take(event);
  if (std::holds_alternative<engine::TokenEvent>(event) && thinking_) ++num_reasoning_tokens_;
  const std::string text = choice_.take_text();
  if (!request_.separate_reasoning) {
    add_answer(text);
  } else {
    sort(splitter_.push(text));
  }
  if (!choice_.is_finished() || std::exchange(ended_, true)) return;
  if (request_.separate_reasoning) sort(splitter_.finish());
  if (request_.calls_tools) add_calls(calls_parser_.finish());
}

void ChatAnswer::sort(const std::vector<text::ReasoningSplitter::Piece>& pieces) {
  for (const auto& piece : pieces) {
    thinking_ = piece.thinking;
    if (!piece.thinking) {
      add_answer(piece.text);
    } else if (request_.include_reasoning) {
      add({ChatDelta::Kind::kReasoning, piece.text, 0, {}});
    }
  }
}

void ChatAnswer::add_answer(const std::string& text) {
  if (request_.calls_tools) return add_calls(calls_parser_.push(text));
  add({ChatDelta::Kind::kContent, text, 0, {}});
}

void ChatAnswer::add_calls(const std::vector<text::ToolPiece>& pieces) {
  using Kind = text::ToolPiece::Kind;
  for (const text::ToolPiece& piece : pieces) {
    if (piece.kind == Kind::kText) add({ChatDelta::Kind::kContent, piece.text, 0, {}});
    if (piece.kind == Kind::kCallBegin)
      add({ChatDelta::Kind::kCallBegin, piece.text, piece.index, random_id("call_")});
    if (piece.kind == Kind::kArguments) add({ChatDelta::Kind::kArguments, piece.text, piece.index, {}});
  }
}

void ChatAnswer::add(ChatDelta delta) {
  using Kind = ChatDelta::Kind;
  if (delta.text.empty() && delta.kind != Kind::kCallBegin) return;
  if (delta.kind == Kind::kReasoning) reasoning_ += delta.text;
  if (delta.kind == Kind::kContent) content_ += delta.text;
  if (delta.kind == Kind::kCallBegin) calls_.push_back({delta.call_id, delta.text, ""});
  if (delta.kind == Kind::kArguments) calls_[static_cast<size_t>(delta.call)].arguments += delta.text;
  const bool goes_on = !deltas_.empty() && deltas_.back().kind == delta.kind &&
                       delta.kind != Kind::kCallBegin && deltas_.back().call == delta.call;
  if (goes_on) {
    deltas_.back().text += delta.text;
  } else {
    deltas_.push_back(std::move(delta));
  }
}

std::vector<ChatDelta> ChatAnswer::take_deltas() {
  return std::exchange(deltas_, {});
}

std::string_view ChatAnswer::finish_reason() const {
  return !calls_.empty() && choice_.finish_reason() == "stop" ? "tool_calls" : choice_.finish_reason();
}

json ChatAnswer::take_logprobs() {
  const auto tokens = choice_.take_tokens();
  if (request_.options.request.sampling.num_logprobs < 0) return nullptr;
  const auto one = [&](int32_t token, float logprob) {
    const bool known = !service_.tokenizer.token(token).empty();
    const std::string bytes = known ? service_.tokenizer.token_bytes(token) : "";
    json entry{{"token", token_text(service_, token, request_.options.token_ids_as_tokens)},
               {"logprob", finite_logprob(logprob)}};
    entry["bytes"] = json::array();
    for (const char byte : bytes) entry["bytes"].push_back(static_cast<unsigned char>(byte));
    return entry;
  };
  const auto& stops = request_.options.request.stop_token_ids;
  json content = json::array();
  for (const engine::Sampled& sampled : tokens) {
    if (std::ranges::find(stops, sampled.token) != stops.end()) continue;  // not a part of the message
    json entry = one(sampled.token, sampled.logprob);
    entry["top_logprobs"] = json::array();
    for (const auto& other : sampled.top) entry["top_logprobs"].push_back(one(other.token, other.logprob));
    content.push_back(std::move(entry));
  }
  return {{"content", content}};
}

ChatRun::ChatRun(Exchange& http, Service& service, ChatRequest request)
    : http_(http),
      service_(service),
      request_(std::move(request)),
      bill_(http, service, request_.options.model, std::ssize(request_.prompt),
            request_.max_tokens * request_.options.n),
      generation_(http, service, request_.options.n) {}

void ChatRun::submit() {
  const auto n = static_cast<size_t>(request_.options.n);
  answers_.reserve(n);
  for (size_t i = 0; i < n; ++i) {
    answers_.emplace_back(service_, request_);
    generation_.submit(
        i, submission_for(request_.options, request_.prompt, request_.max_tokens, static_cast<int64_t>(i)));
  }
  open_ = n;
}

asio::awaitable<bool> ChatRun::run(std::function<asio::awaitable<void>(bool news)> on_news) {
  const auto silence = service_.options.sse_keepalive.count() > 0 ? service_.options.sse_keepalive
                                                                  : std::chrono::seconds(3600);
  co_await service_.prepare(request_.options.request);
  submit();
  http_.on_gone([this] { generation_.interrupt(); });
  while (open_ > 0 && !http_.client_gone()) {
    const auto items = co_await generation_.next(silence);
    for (const Generation::Item& item : items) {
      ChatAnswer& answer = answers_[item.number];
      if (answer.is_finished()) continue;
      answer.take(item.event);
      if (answer.choice().is_stopped()) generation_.cancel(item.number);
      if (answer.is_finished()) --open_;
    }
    if (request_.options.stream) bill_.progress(num_cached_tokens(), num_completion_tokens());
    if (!http_.client_gone()) co_await on_news(!items.empty());
  }
  http_.on_gone(nullptr);
  http_.meter.add_reasoning_tokens(num_reasoning_tokens());
  if (!http_.client_gone()) bill_.settle(num_cached_tokens(), num_completion_tokens());
  co_return !http_.client_gone();
}

int64_t ChatRun::num_completion_tokens() const {
  return std::accumulate(answers_.begin(), answers_.end(), int64_t{0},
                         [](int64_t sum, const ChatAnswer& a) { return sum + a.choice().num_tokens(); });
}

ChatEnd ChatRun::end() const {
  const ChatAnswer& answer = answers_.front();
  return {std::string(answer.finish_reason()), answer.choice().stop_reason(),
          std::ssize(request_.prompt),         num_cached_tokens(),
          answer.choice().num_tokens(),        answer.num_reasoning_tokens()};
}

int64_t ChatRun::num_reasoning_tokens() const {
  return std::accumulate(answers_.begin(), answers_.end(), int64_t{0},
                         [](int64_t sum, const ChatAnswer& a) { return sum + a.num_reasoning_tokens(); });
}

json ChatRun::usage() const {
  return usage_json(std::ssize(request_.prompt), num_completion_tokens(), num_cached_tokens(),
                    num_reasoning_tokens());
}

}  // namespace hadal::serve
