#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/awaitable.hpp>

#include "hadal/core/json.h"
#include "hadal/serve/request_meter.h"
#include "hadal/serve/transport.h"

namespace hadal::serve {

struct Account;

struct HttpRequest {
  std::string method, path, query;            // path: percent-encoding undone, without the query
  std::map<std::string, std::string> fields;  // names in lower case
  std::string body;
  bool keep_alive = true;
  bool http_1_0 = false;

  std::string_view field(const std::string& name) const;
  /// A parameter of the query, percent-encoding undone.
  std::optional<std::string> parameter(std::string_view name) const;
};

/// One request and the way to answer it: a whole answer, or a stream of server-sent events. On the connection's strand. A client
/// that has gone makes each send return false; nothing throws.
class Exchange {
 public:
  Exchange(Transport& transport, HttpRequest request, std::string id,
           std::function<void(std::chrono::seconds)> expect_progress);

  const HttpRequest& request() const { return request_; }
  asio::any_io_executor executor() { return transport_.socket().get_executor(); }
  /// X-Request-Id: the client's, or ours.
  const std::string& id() const { return id_; }
  /// Who asks; null where there are no accounts, and for the server's own keys.
  const Account* account() const { return account_.get(); }
  void set_account(std::shared_ptr<const Account> account) { account_ = std::move(account); }
  /// The route's path in the table: what logs and metrics say instead of what the client wrote.
  std::string_view route = "unknown";
  /// What the engine did for it.
  RequestMeter meter{std::chrono::steady_clock::now()};

  /// Fields that the answer gets besides its own.
  void add_field(std::string name, std::string value) {
    extra_.emplace_back(std::move(name), std::move(value));
  }

  asio::awaitable<bool> send(int status, std::string_view content_type, std::string_view body);
  asio::awaitable<bool> send_json(const json& body, int status = 200);

  asio::awaitable<bool> begin_sse();
  /// Events as they are, each with its blank line; several may come together.
  asio::awaitable<bool> send_events(std::string_view events);
  asio::awaitable<bool> end_sse();

  bool began() const { return status_ != 0; }
  int status() const { return status_; }
  bool client_gone() const { return gone_; }
  bool streams() const { return streams_; }
  /// The status as logs and metrics have it: 499 if the client went before its answer was complete.
  int final_status() const;
  /// The method, "other" if it is none that HTTP has.
  std::string_view method_name() const;
  /// The client has ended the connection. Calls on_gone.
  void hang_up();
  /// What to do then; the caller keeps what it needs alive until the exchange goes or sets another.
  void on_gone(std::function<void()> hook) { on_gone_ = std::move(hook); }
  /// True if the connection can take another request after this one.
  bool reusable() const { return !gone_ && request_.keep_alive && complete_; }
  int64_t bytes_sent() const { return bytes_sent_; }

 private:
  std::string head(int status, std::string_view content_type, std::optional<size_t> length) const;
  asio::awaitable<bool> write(std::string_view text);

  Transport& transport_;
  HttpRequest request_;
  std::string id_;
  std::function<void(std::chrono::seconds)> expect_progress_;
  std::function<void()> on_gone_;
  std::shared_ptr<const Account> account_;
  std::vector<std::pair<std::string, std::string>> extra_;
  int status_ = 0;
  bool gone_ = false, complete_ = false, streams_ = false;
  int64_t bytes_sent_ = 0;
};

/// data: TEXT, as server-sent events have it. The text has no line breaks.
std::string sse_event(std::string_view data);
/// The same with a name before it.
std::string sse_event(std::string_view name, std::string_view data);

/// JSON as it goes to clients: UTF-8, what is no UTF-8 replaced.
std::string dump(const json& value);

std::string_view reason_phrase(int status);
std::string percent_decoded(std::string_view text);

}  // namespace hadal::serve
