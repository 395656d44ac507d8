// POST /v1/messages and /v1/messages/count_tokens: Anthropic's protocol over the chat engine.
#include <utility>

#include <nlohmann/json.hpp>

#include "hadal/serve/chat_run.h"
#include "hadal/serve/message_request.h"
#include "hadal/serve/message_writer.h"
#include "hadal/serve/routes.h"

namespace hadal::serve {
namespace {

class MessageAnswer {
 public:
  MessageAnswer(Exchange& http, Service& service, ChatRequest request)
      : http_(http),
        run_(http, service, std::move(request)),
        writer_(random_id("msg_"), service.model_name()) {}

  asio::awaitable<void> answer() {
    stream_ = run_.request().options.stream;
    auto on_news = [this](bool news) -> asio::awaitable<void> { co_await send_news(news); };
    const bool finished = co_await run_.run(std::move(on_news));
    if (!finished) co_return;
    std::vector<json> events;
    take_deltas(events);
    writer_.finish(run_.end(), events);
    if (!stream_) {
      const json message = writer_.message(run_.end());
      co_await http_.send_json(message);
      co_return;
    }
    const std::string text = as_text(events);
    co_await http_.send_events(text);
    co_await http_.end_sse();
  }

 private:
  asio::awaitable<void> send_news(bool news) {
    if (!stream_) co_return;
    std::vector<json> events;
    if (!http_.began()) {
      co_await http_.begin_sse();
      events.push_back(writer_.start(run_.end()));
    }
    take_deltas(events);
    if (!news) events.push_back(json{{"type", "ping"}});
    const std::string text = as_text(events);
    co_await http_.send_events(text);
  }

  void take_deltas(std::vector<json>& events) {
    for (const ChatDelta& delta : run_.answers().front().take_deltas()) writer_.take(delta, events);
  }

  static std::string as_text(const std::vector<json>& events) {
    std::string text;
    for (const json& event : events)
      text += sse_event(event["type"].get_ref<const std::string&>(), dump(event));
    return text;
  }

  Exchange& http_;
  ChatRun run_;
  MessageWriter writer_;
  bool stream_ = false;
};

}  // namespace

asio::awaitable<void> messages(Exchange& http, Service& service) {
  http.add_field("Request-Id", http.id());  // Anthropic's name of it
  static_cast<void>(service.engine());      // before anything else: is there one?
  ChatRequest request;
  auto read = [&] {
    const json body = parse_body(http.request().body);
    request = read_chat_request(chat_of_messages(body, MessageUse::kAnswer), service);
  };
  co_await service.aside.read(http, read);
  MessageAnswer answer(http, service, std::move(request));
  co_await answer.answer();
}

asio::awaitable<void> count_message_tokens(Exchange& http, Service& service) {
  http.add_field("Request-Id", http.id());
  json result;
  auto read = [&] {
    const json body = parse_body(http.request().body);
    const json chat = chat_of_messages(body, MessageUse::kCount);
    result = {{"input_tokens", read_chat_prompt(chat, service).prompt.size()}};
  };
  co_await service.aside.read(http, read);
  co_await http.send_json(result);
}

}  // namespace hadal::serve
