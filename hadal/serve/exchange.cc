#include "hadal/serve/exchange.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace hadal::serve {
namespace {

constexpr std::chrono::seconds kWriteTimeout{30};  // for a piece that the client's side does not take

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (text[i] != '%' || high < 0 || low < 0) {
      out += text[i];
      continue;
    }
    out += static_cast<char>(16 * high + low);
    i += 2;
  }
  return out;
}

std::string_view HttpRequest::field(const std::string& name) const {
  const auto found = fields.find(name);
  return found == fields.end() ? std::string_view() : std::string_view(found->second);
}

std::optional<std::string> HttpRequest::parameter(std::string_view name) const {
  for (std::string_view rest = query; !rest.empty();) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    const size_t equals = std::min(pair.find('='), pair.size());
    if (percent_decoded(pair.substr(0, equals)) == name)
      return percent_decoded(pair.substr(std::min(equals + 1, pair.size())));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return std::nullopt;
}

std::string sse_event(std::string_view data) {
  return fmt::format("data: {}\n\n", data);
}

std::string sse_event(std::string_view name, std::string_view data) {
  return fmt::format("event: {}\ndata: {}\n\n", name, data);
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 402:
      return "Payment Required";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    case 529:
      return "Overloaded";
    default:
      return "Unknown";
  }
}

Exchange::Exchange(Transport& transport, HttpRequest request, std::string id,
                   std::function<void(std::chrono::seconds)> expect_progress)
    : transport_(transport),
      request_(std::move(request)),
      id_(std::move(id)),
      expect_progress_(std::move(expect_progress)) {}

std::string Exchange::head(int status, std::string_view content_type, std::optional<size_t> length) const {
  std::string text =
      fmt::format("HTTP/1.1 {} {}\r\nX-Request-Id: {}\r\n", status, reason_phrase(status), id_);
  if (!content_type.empty()) text += fmt::format("Content-Type: {}\r\n", content_type);
  if (length) {
    text += fmt::format("Content-Length: {}\r\n", *length);
  } else if (!request_.http_1_0) {
    text += "Transfer-Encoding: chunked\r\n";
  }
  if (!request_.keep_alive || (!length && request_.http_1_0)) {
    text += "Connection: close\r\n";
  } else if (request_.http_1_0) {
    text += "Connection: keep-alive\r\n";
  }
  for (const auto& [name, value] : extra_) text += fmt::format("{}: {}\r\n", name, value);
  return text + "\r\n";
}

int Exchange::final_status() const {
  constexpr int kClientGone = 499;  // nginx's
  return gone_ ? kClientGone : status_;
}

std::string_view Exchange::method_name() const {
  for (const std::string_view known : {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}) {
    if (known == request_.method) return known;
  }
  return "other";
}

void Exchange::hang_up() {
  gone_ = true;
  if (on_gone_) on_gone_();
}

asio::awaitable<bool> Exchange::write(std::string_view text) {
  if (gone_) co_return false;
  expect_progress_(kWriteTimeout);
  const bool written = co_await transport_.write(text);
  expect_progress_(std::chrono::seconds::max());
  bytes_sent_ += static_cast<int64_t>(text.size());
  gone_ = !written;
  co_return written;
}

asio::awaitable<bool> Exchange::send(int status, std::string_view content_type, std::string_view body) {
  status_ = status;
  complete_ = true;
  std::string text = head(status, content_type, body.size());
  if (request_.method != "HEAD") text += body;
  const bool written = co_await write(text);
  co_return written;
}

asio::awaitable<bool> Exchange::send_json(const json& body, int status) {
  const std::string text = dump(body);
  const bool written = co_await send(status, "application/json", text);
  co_return written;
}

asio::awaitable<bool> Exchange::begin_sse() {
  status_ = 200;
  streams_ = true;
  add_field("Cache-Control", "no-cache");
  add_field("X-Accel-Buffering", "no");  // nginx would collect the events
  const std::string text = head(200, "text/event-stream; charset=utf-8", std::nullopt);
  const bool written = co_await write(text);
  co_return written;
}

asio::awaitable<bool> Exchange::send_events(std::string_view events) {
  if (events.empty()) co_return !gone_;
  const std::string text =
      request_.http_1_0 ? std::string(events) : fmt::format("{:x}\r\n{}\r\n", events.size(), events);
  const bool written = co_await write(text);
  co_return written;
}

asio::awaitable<bool> Exchange::end_sse() {
  complete_ = !request_.http_1_0;
  const std::string_view text = request_.http_1_0 ? "" : "0\r\n\r\n";
  const bool written = co_await write(text);
  co_return written;
}

}  // namespace hadal::serve
