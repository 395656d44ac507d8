#include "hadal/serve/session.h"

#include <array>
#include <exception>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <sys/socket.h>

#include "hadal/core/log.h"
#include "hadal/serve/api_error.h"
#include "hadal/serve/routes.h"

namespace hadal::serve {
namespace {

using std::chrono::seconds;
constexpr seconds kHandshake{10}, kHeader{10}, kBody{60}, kIdle{75};

// True if the other side has ended. Bytes that wait are another request, or TLS's.
bool has_hung_up(int socket) {
  char byte = 0;
  const ssize_t count = recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

}  // namespace

Session::Session(std::unique_ptr<Transport> transport, Service& service)
    : transport_(std::move(transport)),
      service_(service),
      reader_({.max_body_bytes = service.options.max_body_bytes}),
      timer_(transport_->socket().get_executor()) {}

void Session::allow(seconds time) {
  const auto now = std::chrono::steady_clock::now();
  deadline_ = time == seconds::max() ? std::chrono::steady_clock::time_point::max() : now + time;
  timer_.cancel();  // watch_time looks again
}

void Session::close() {
  closed_ = true;
  boost::system::error_code ignored;
  transport_->socket().close(ignored);
  timer_.cancel();
}

void Session::close_when_idle() {
  closing_ = true;
  if (idle_) close();
}

asio::awaitable<void> Session::watch_time() {
  while (!closed_) {
    if (std::chrono::steady_clock::now() >= deadline_) {
      close();
      break;
    }
    timer_.expires_at(deadline_);
    boost::system::error_code ignored;
    auto token = asio::redirect_error(asio::use_awaitable, ignored);
    co_await timer_.async_wait(token);
  }
}

asio::awaitable<void> Session::run() {
  const auto self = shared_from_this();
  allow(kHandshake);
  auto watch = [self]() -> asio::awaitable<void> { co_await self->watch_time(); };
  asio::co_spawn(timer_.get_executor(), std::move(watch), asio::detached);
  bool open = co_await transport_->handshake();
  while (open && !closing_) {
    open = co_await read_request();
    if (!open) break;
    idle_ = false;
    open = co_await answer();
    idle_ = true;
  }
  if (!closed_) {
    allow(kHandshake);
    co_await transport_->shut_down();
  }
  close();
}

// False: there is none to come.
asio::awaitable<bool> Session::read_request() {
  std::array<char, 16384> buffer;
  HttpReader::State seen = HttpReader::State::kIdle;
  allow(reader_.state() == HttpReader::State::kIdle ? kIdle : kHeader);
  while (reader_.state() != HttpReader::State::kDone) {
    const size_t count = co_await transport_->read_some(buffer.data(), buffer.size());
    if (count == 0) co_return false;
    std::optional<ApiError> error;
    try {
      reader_.put({buffer.data(), count});
    } catch (const ApiError& e) {
      error = e;
    }
    if (error) {
      co_await refuse(*error);
      co_return false;
    }
    if (reader_.wants_continue()) {
      const bool written = co_await transport_->write("HTTP/1.1 100 Continue\r\n\r\n");
      if (!written) co_return false;
    }
    if (reader_.state() == seen) continue;
    seen = reader_.state();
    allow(seen == HttpReader::State::kHeader ? kHeader : kBody);
  }
  allow(seconds::max());
  co_return true;
}

asio::awaitable<void> Session::refuse(const ApiError& error) {
  HttpRequest request;
  request.keep_alive = false;
  Exchange http(*transport_, request, new_request_id(), [this](seconds time) { allow(time); });
  const json body = openai_error(error);
  co_await http.send_json(body, error.status());
  service_.log_request(http, {});
}

// While an answer is being made nobody reads; but an end of the connection is noticed, and with it all work for it ends.
void Session::watch_client(const std::shared_ptr<Exchange>& http) {
  const std::weak_ptr<Exchange> weak = http;
  transport_->socket().async_wait(Socket::wait_read,
                                  [self = shared_from_this(), weak](const boost::system::error_code& error) {
                                    const auto exchange = weak.lock();
                                    if (error || !exchange) return;
                                    if (has_hung_up(self->transport_->socket().native_handle()))
                                      exchange->hang_up();
                                  });
}

// True: the connection can take another request.
asio::awaitable<bool> Session::answer() {
  HttpRequest request = reader_.take();
  const auto start = std::chrono::steady_clock::now();
  if (closing_) request.keep_alive = false;
  const std::string id = request_id_for(request);
  auto progress = [this](seconds time) { allow(time); };
  const auto http = std::make_shared<Exchange>(*transport_, std::move(request), id, std::move(progress));
  watch_client(http);
  std::optional<ApiError> error;
  try {
    co_await handle(*http, service_);
  } catch (const ApiError& e) {
    error = e;
  } catch (const Error& e) {
    error = to_api_error(e);
  } catch (const std::exception& e) {
    error = ApiError(500, e.what());
  }
  if (error) co_await send_error(*http, *error);
  if (!closed_) {
    boost::system::error_code ignored;
    transport_->socket().cancel(ignored);  // the wait of watch_client
  }
  service_.log_request(*http, std::chrono::steady_clock::now() - start);
  co_return http->reusable() && !closing_;
}

}  // namespace hadal::serve
