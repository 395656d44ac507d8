// POST /v1/responses: OpenAI's newer protocol over the chat engine; GET and DELETE of those that are stored.
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/accounts.h"
#include "hadal/serve/chat_run.h"
#include "hadal/serve/endpoint_rules.h"
#include "hadal/serve/response_request.h"
#include "hadal/serve/response_writer.h"
#include "hadal/serve/routes.h"

namespace hadal::serve {
namespace {

// Whose responses they are: the account's, or the key's; with a salt, those of the requests that share the cache.
std::string owner_of(const Exchange& http, const std::string& salt) {
  const HttpRequest& request = http.request();
  const std::string who =
      http.account() ? http.account()->id
                     : fmt::format("{}\n{}", request.field("authorization"), request.field("x-api-key"));
  return fmt::format("{}\n{}", who, salt);
}

std::string id_in(const std::string& path) {
  constexpr std::string_view kBefore = "responses/";
  return path.substr(path.find(kBefore) + kBefore.size());
}

ApiError unknown(const std::string& id) {
  return ApiError(404, fmt::format("Response with id '{}' not found.", id));
}

// The conversation that the response before has ended.
json earlier_items(Service& service, const FieldReader& fields, const std::string& owner) {
  const auto id = fields.string("previous_response_id");
  if (!id) return json::array();
  const auto entry = service.responses.get(owner, *id);
  if (entry) return json::parse(entry->items);
  ApiError error(400, fmt::format("Previous response with id '{}' not found.", *id), "previous_response_id");
  error.details = json{{"code", "previous_response_not_found"}};
  throw error;
}

ResponseFrame frame_for(const Service& service, const ChatRequest& request) {
  const engine::Sampling& sampling = request.options.request.sampling;
  return {random_id("resp_"), service.model_name(), unix_time(), sampling.temperature, sampling.top_p};
}

struct ResponseRequest {
  json body;
  ChatRequest chat;
  json items;  // the conversation so far, to be stored with the answer; null: nothing is
};

ResponseRequest read_request(const Exchange& http, Service& service) {
  ResponseRequest request;
  request.body = parse_body(http.request().body);
  const FieldReader fields(request.body, responses_rules());
  json items = earlier_items(service, fields, owner_of(http, fields.string("cache_salt").value_or("")));
  request.chat = read_chat_request(chat_of_responses(request.body, items), service);
  if (!fields.boolean("store").value_or(true)) return request;
  for (const json& item : input_items(request.body)) items.push_back(item);
  request.items = std::move(items);
  return request;
}

class ResponseAnswer {
 public:
  ResponseAnswer(Exchange& http, Service& service, ResponseRequest request)
      : http_(http),
        service_(service),
        writer_(request.body, frame_for(service, request.chat)),
        run_(http, service, std::move(request.chat)),
        owner_(owner_of(http, run_.request().options.request.cache_salt)),
        items_(std::move(request.items)) {}

  asio::awaitable<void> answer() {
    stream_ = run_.request().options.stream;
    std::optional<std::string> error;
    bool finished = false;
    try {
      auto on_news = [this](bool news) -> asio::awaitable<void> { co_await send_news(news); };
      finished = co_await run_.run(std::move(on_news));
    } catch (const std::exception& e) {
      if (!http_.began()) throw;
      error = e.what();  // the protocol has an event for it
    }
    if (!finished && !error) co_return;
    std::vector<json> events;
    take_deltas(events);
    if (error) {
      writer_.fail(*error, events);
    } else {
      writer_.finish(run_.end(), events);
      store();
    }
    if (!stream_) {
      co_await http_.send_json(writer_.response());
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
      writer_.start(events);
    }
    take_deltas(events);
    const std::string text = as_text(events) + (news ? "" : ": keep-alive\n\n");
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

  // Before the client hears of the end, since it may go on at once.
  void store() {
    if (items_.is_null()) return;
    for (const json& item : writer_.response()["output"]) items_.push_back(item);
    const json& response = writer_.response();
    service_.responses.put({owner_, response["id"].get<std::string>(), dump(response), dump(items_)});
  }

  Exchange& http_;
  Service& service_;
  ResponseWriter writer_;
  ChatRun run_;
  std::string owner_;
  json items_;
  bool stream_ = false;
};

}  // namespace

asio::awaitable<void> responses(Exchange& http, Service& service) {
  static_cast<void>(service.engine());  // before anything else: is there one?
  ResponseRequest request;
  auto read = [&] { request = read_request(http, service); };
  co_await service.aside.read(http, read);
  ResponseAnswer answer(http, service, std::move(request));
  co_await answer.answer();
}

asio::awaitable<void> get_response(Exchange& http, Service& service) {
  const std::string id = id_in(http.request().path);
  const std::string salt = http.request().parameter("cache_salt").value_or("");
  const auto entry = service.responses.get(owner_of(http, salt), id);
  if (!entry) throw unknown(id);
  co_await http.send(200, "application/json", entry->response);
}

asio::awaitable<void> delete_response(Exchange& http, Service& service) {
  const std::string id = id_in(http.request().path);
  const std::string salt = http.request().parameter("cache_salt").value_or("");
  if (!service.responses.erase(owner_of(http, salt), id)) throw unknown(id);
  const json result{{"id", id}, {"object", "response"}, {"deleted", true}};
  co_await http.send_json(result);
}

}  // namespace hadal::serve
