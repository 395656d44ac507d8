#include "hadal/serve/session.h"

#include <array>
#include <exception>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <poll.h>

#include "hadal/core/log.h"
#include "hadal/serve/api_error.h"
#include "hadal/serve/routes.h"

namespace hadal::serve {
namespace {

using std::chrono::seconds;
constexpr seconds kHandshake{10}, kHeader{10}, kBody{10}, kIdle{75}, kHearOut{2};
constexpr int64_t kSlowestBytesPerSecond = 16 << 10;  // of a body, on average

// True if the other side has ended, whatever it has sent before that and nobody has read yet.
bool has_hung_up(int socket) {
  pollfd state{socket, POLLRDHUP, 0};
  return poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

// What has no place now may have one soon, unless the server is about to end.
ApiError error_now(const Error& e, const Service& service) {
  ApiError error = to_api_error(e);
  if (error.status() != 429) return error;
  if (service.stage == Stage::kDraining) error = ApiError(503, e.what());
  error.retry_after = 1;
  return error;
}

}  // namespace

Session::Session(std::unique_ptr<Transport> transport, Service& service)
    : transport_(std::move(transport)),
      service_(service),
      reader_({.max_body_bytes = service.options.max_body_bytes}),
      timer_(transport_->socket().get_executor()),
      look_timer_(timer_.get_executor()) {}

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
  look_timer_.cancel();
}

void Session::close_when_idle() {
  closing_ = true;
  if (idle_) close();
}

// Time is up. Who has begun a request is told so, and it is logged; there is nobody to tell who never said a word, or has taken in
// nothing of an answer.
void Session::give_up() {
  const bool began =
      reader_.state() == HttpReader::State::kHeader || reader_.state() == HttpReader::State::kBody;
  if (!is_reading_ || !began) return close();
  too_slow_ = true;
  allow(kHearOut);  // a second time nothing is said
  is_reading_ = false;
  boost::system::error_code ignored;
  transport_->socket().cancel(ignored);
}

asio::awaitable<void> Session::watch_time() {
  while (!closed_) {
    if (std::chrono::steady_clock::now() >= deadline_) {
      give_up();
      if (closed_) break;
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
  try {
    co_await serve();
  } catch (const std::exception& e) {  // out of memory: the others may be luckier
    log_warning("a connection was given up: {}", e.what());
  }
  close();
}

asio::awaitable<void> Session::serve() {
  bool open = co_await transport_->handshake();
  while (open && !closing_) {
    open = co_await read_request();
    if (!open) break;
    idle_ = false;
    open = co_await answer();
    idle_ = true;
  }
  if (closed_) co_return;
  allow(kHandshake);
  co_await transport_->shut_down();
}

std::optional<ApiError> Session::take_in(std::string_view bytes) {
  try {
    reader_.put(bytes);
  } catch (const ApiError& e) {
    return e;
  }
  return std::nullopt;
}

// So many bytes have come. Who holds a connection with a request that never ends is put out soon; a large body has its time
// as long as it comes.
void Session::allow_reading(HttpReader::State before, size_t count) {
  using State = HttpReader::State;
  const State state = reader_.state();
  if (state == State::kIdle) {
    allow(fresh_ ? kHeader : kIdle);
  } else if (state != before) {
    allow(state == State::kHeader ? kHeader : kBody);
  } else if (state == State::kBody) {
    const auto earned =
        std::chrono::microseconds(static_cast<int64_t>(count) * 1'000'000 / kSlowestBytesPerSecond);
    deadline_ = std::min(deadline_ + earned, std::chrono::steady_clock::now() + kBody);
  }
}

// False: there is none to come.
asio::awaitable<bool> Session::read_request() {
  std::array<char, 16384> buffer;
  size_t count = 0;  // what came behind the last request is the reader's already
  while (true) {
    const HttpReader::State before = reader_.state();
    if (const auto error = take_in({buffer.data(), count})) {
      co_await refuse(*error);
      co_return false;
    }
    if (reader_.state() == HttpReader::State::kDone) break;
    if (reader_.wants_continue()) {
      const bool written = co_await transport_->write("HTTP/1.1 100 Continue\r\n\r\n");
      if (!written) co_return false;
    }
    allow_reading(before, count);
    is_reading_ = true;
    count = co_await transport_->read_some(buffer.data(), buffer.size());
    is_reading_ = false;
    if (too_slow_ && !closed_) co_await refuse(ApiError(408, "The request took too long to arrive."));
    if (too_slow_ || count == 0) co_return false;
  }
  fresh_ = false;
  allow(seconds::max());
  co_return true;
}

// A connection that is closed while the other side still sends is reset, and what it was told is lost.
asio::awaitable<void> Session::hear_out() {
  allow(kHearOut);
  boost::system::error_code ignored;
  if (service_.options.ssl_certfile.empty()) transport_->socket().shutdown(Socket::shutdown_send, ignored);
  std::array<char, 16384> buffer;
  size_t count = 1;
  while (count > 0) count = co_await transport_->read_some(buffer.data(), buffer.size());
}

asio::awaitable<void> Session::refuse(const ApiError& error) {
  HttpRequest request;
  request.keep_alive = false;
  Exchange http(*transport_, request, new_request_id(), [this](seconds time) { allow(time); });
  const json body = openai_error(error);
  co_await http.send_json(body, error.status());
  service_.log_request(http, {});
  co_await hear_out();
}

// While an answer is being made nobody reads; but an end of the connection is noticed, and with it all work for it ends.
void Session::watch_client(const std::shared_ptr<Exchange>& http) {
  const std::weak_ptr<Exchange> weak = http;
  transport_->socket().async_wait(Socket::wait_read,
                                  [self = shared_from_this(), weak](const boost::system::error_code& error) {
                                    const auto exchange = weak.lock();
                                    if (!error && exchange) self->look_again(exchange);
                                  });
}

// Bytes that wait, the next request's or TLS's, would end every wait for more at once.
void Session::look_again(const std::shared_ptr<Exchange>& http) {
  if (closed_) return;
  if (has_hung_up(transport_->socket().native_handle())) return http->hang_up();
  constexpr std::chrono::milliseconds kPause{100};
  look_timer_.expires_after(kPause);
  const std::weak_ptr<Exchange> weak = http;
  look_timer_.async_wait([self = shared_from_this(), weak](const boost::system::error_code& error) {
    const auto exchange = weak.lock();
    if (!error && exchange) self->look_again(exchange);
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
    error = error_now(e, service_);
  } catch (const std::exception& e) {
    error = ApiError(500, e.what());
  }
  if (error) {
    http->on_gone(nullptr);  // whose hook it was has gone
    co_await send_error(*http, *error);
  }
  if (!closed_) {
    boost::system::error_code ignored;
    transport_->socket().cancel(ignored);  // the wait of watch_client
    look_timer_.cancel();
  }
  service_.log_request(*http, std::chrono::steady_clock::now() - start);
  co_return http->reusable() && !closing_;
}

}  // namespace hadal::serve
