// POST /v1/chat/completions. Until the first event is sent an error is an exception, which Session turns into a status and a
// JSON body in one place; after that the status is out, so an error is the stream's last event.
#include <utility>

#include <nlohmann/json.hpp>

#include "hadal/serve/chat_run.h"
#include "hadal/serve/routes.h"

namespace hadal::serve {
namespace {

json call_json(const ToolCall& call) {
  return {{"id", call.id},
          {"type", "function"},
          {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
}

class ChatCompletion {
 public:
  ChatCompletion(Exchange& http, Service& service, ChatRequest request)
      : http_(http),
        service_(service),
        run_(http, service, std::move(request)),
        id_(random_id("chatcmpl-")),
        created_(unix_time()) {}

  asio::awaitable<void> answer() {
    stream_ = run_.request().options.stream;
    auto on_news = [this](bool news) -> asio::awaitable<void> { co_await send_news(news); };
    const bool finished = co_await run_.run(std::move(on_news));
    if (!finished) co_return;
    if (stream_) {
      co_await end_stream();
    } else {
      const json message = whole();
      co_await http_.send_json(message);
    }
  }

 private:
  asio::awaitable<void> send_news(bool news) {
    if (!stream_) co_return;
    std::string events = news ? "" : ": keep-alive\n\n";
    if (!http_.began()) {
      co_await http_.begin_sse();
      for (size_t i = 0; i < run_.answers().size(); ++i)
        events += chunk(i, {{"role", "assistant"}, {"content", ""}}, nullptr, nullptr);
      said_end_.assign(run_.answers().size(), false);
    }
    for (size_t i = 0; i < run_.answers().size(); ++i) events += new_chunks(i);
    co_await http_.send_events(events);
  }

  // Each kind of text in a chunk of its own; the log-probabilities go with the first of them.
  std::string new_chunks(size_t i) {
    ChatAnswer& answer = run_.answers()[i];
    std::string events;
    json logprobs = answer.take_logprobs();
    for (const ChatDelta& delta : answer.take_deltas()) {
      events += chunk(i, delta_json(delta), nullptr, std::exchange(logprobs, json()));
    }
    const bool left = logprobs.is_object() && !logprobs["content"].empty();
    if (left) events += chunk(i, {{"content", ""}}, nullptr, logprobs);
    if (!answer.is_finished() || std::exchange(said_end_[i], true)) return events;
    return events + chunk(i, json::object(), answer.finish_reason(), nullptr);
  }

  static json delta_json(const ChatDelta& delta) {
    switch (delta.kind) {
      case ChatDelta::Kind::kReasoning:
        return {{"reasoning_content", delta.text}};
      case ChatDelta::Kind::kCallBegin:
        return {{"tool_calls", json::array({{{"index", delta.call},
                                             {"id", delta.call_id},
                                             {"type", "function"},
                                             {"function", {{"name", delta.text}, {"arguments", ""}}}}})}};
      case ChatDelta::Kind::kArguments:
        return {{"tool_calls",
                 json::array({{{"index", delta.call}, {"function", {{"arguments", delta.text}}}}})}};
      case ChatDelta::Kind::kContent:
        break;
    }
    return {{"content", delta.text}};
  }

  json frame(std::string_view object) const {
    return {{"id", id_},
            {"object", object},
            {"created", created_},
            {"model", service_.model_name()},
            {"system_fingerprint", service_.fingerprint}};
  }

  std::string chunk(size_t index, json delta, json finish_reason, json logprobs) {
    json event = frame("chat.completion.chunk");
    event["choices"] = json::array({{{"index", index},
                                     {"delta", std::move(delta)},
                                     {"logprobs", std::move(logprobs)},
                                     {"finish_reason", std::move(finish_reason)}}});
    if (run_.request().options.usage_on_each) event["usage"] = run_.usage();
    return sse_event(dump(event));
  }

  asio::awaitable<void> end_stream() {
    std::string events;
    if (run_.request().options.include_usage) {
      json event = frame("chat.completion.chunk");
      event["choices"] = json::array();
      event["usage"] = run_.usage();
      events = sse_event(dump(event));
    }
    events += sse_event("[DONE]");
    co_await http_.send_events(events);
    co_await http_.end_sse();
  }

  json whole() {
    json result = frame("chat.completion");
    result["choices"] = json::array();
    for (size_t i = 0; i < run_.answers().size(); ++i) {
      ChatAnswer& answer = run_.answers()[i];
      json message{{"role", "assistant"}, {"content", answer.content()}};
      if (!answer.reasoning().empty()) message["reasoning_content"] = answer.reasoning();
      if (!answer.calls().empty()) {
        if (answer.content().empty()) message["content"] = nullptr;
        message["tool_calls"] = json::array();
        for (const ToolCall& call : answer.calls()) message["tool_calls"].push_back(call_json(call));
      }
      result["choices"].push_back({{"index", i},
                                   {"message", message},
                                   {"logprobs", answer.take_logprobs()},
                                   {"finish_reason", answer.finish_reason()},
                                   {"stop_reason", answer.choice().stop_reason()}});
    }
    result["usage"] = run_.usage();
    return result;
  }

  Exchange& http_;
  Service& service_;
  ChatRun run_;
  std::string id_;
  int64_t created_;
  bool stream_ = false;
  std::vector<char> said_end_;
};

}  // namespace

asio::awaitable<void> chat_completions(Exchange& http, Service& service) {
  static_cast<void>(service.engine());  // before anything else: is there one?
  ChatRequest request;
  auto read = [&] { request = read_chat_request(parse_body(http.request().body), service); };
  co_await service.aside.read(http, read);
  ChatCompletion completion(http, service, std::move(request));
  co_await completion.answer();
}

}  // namespace hadal::serve
