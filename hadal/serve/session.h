#pragma once

#include <chrono>
#include <memory>

#include <boost/asio/steady_timer.hpp>

#include "hadal/serve/api_error.h"
#include "hadal/serve/exchange.h"
#include "hadal/serve/http_reader.h"
#include "hadal/serve/service.h"
#include "hadal/serve/transport.h"

namespace hadal::serve {

/// One connection, from its first byte to its last: requests in, answers out, one after the other. Everything on one strand.
/// A timer closes it when the other side takes longer than it may.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(std::unique_ptr<Transport> transport, Service& service);

  asio::awaitable<void> run();
  /// Ends the connection, now if it waits for a request, else after the answer that is being written.
  void close_when_idle();
  asio::any_io_executor executor() { return timer_.get_executor(); }

 private:
  asio::awaitable<void> serve();
  asio::awaitable<bool> read_request();
  std::optional<ApiError> take_in(std::string_view bytes);
  void allow_reading(HttpReader::State before, size_t count);
  asio::awaitable<void> hear_out();
  asio::awaitable<bool> answer();
  asio::awaitable<void> refuse(const ApiError& error);
  asio::awaitable<void> watch_time();
  void give_up();
  void watch_client(const std::shared_ptr<Exchange>& http);
  void look_again(const std::shared_ptr<Exchange>& http);
  void allow(std::chrono::seconds time);
  void close();

  std::unique_ptr<Transport> transport_;
  Service& service_;
  HttpReader reader_;
  asio::steady_timer timer_, look_timer_;
  std::chrono::steady_clock::time_point deadline_;
  bool closing_ = false, closed_ = false, idle_ = true, fresh_ = true;
  bool is_reading_ = false, too_slow_ = false;  // a request; its time is up
};

}  // namespace hadal::serve
