#include "hadal/serve/transport.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

namespace hadal::serve {
namespace {

using boost::system::error_code;

class Plain : public Transport {
 public:
  explicit Plain(Socket socket) : socket_(std::move(socket)) {}

  asio::awaitable<bool> handshake() override { co_return true; }

  asio::awaitable<size_t> read_some(char* data, size_t size) override {
    error_code error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    const size_t count = co_await socket_.async_read_some(asio::buffer(data, size), token);
    co_return error ? 0 : count;
  }

  asio::awaitable<bool> write(std::string_view text) override {
    error_code error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    co_await asio::async_write(socket_, asio::buffer(text.data(), text.size()), token);
    co_return !error;
  }

  asio::awaitable<void> shut_down() override {
    error_code ignored;
    socket_.shutdown(Socket::shutdown_both, ignored);
    co_return;
  }

  Socket& socket() override { return socket_; }

 private:
  Socket socket_;
};

class Tls : public Transport {
 public:
  Tls(Socket socket, asio::ssl::context& context) : stream_(std::move(socket), context) {}

  asio::awaitable<bool> handshake() override {
    error_code error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    co_await stream_.async_handshake(asio::ssl::stream_base::server, token);
    co_return !error;
  }

  asio::awaitable<size_t> read_some(char* data, size_t size) override {
    error_code error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    const size_t count = co_await stream_.async_read_some(asio::buffer(data, size), token);
    co_return error ? 0 : count;
  }

  asio::awaitable<bool> write(std::string_view text) override {
    error_code error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    co_await asio::async_write(stream_, asio::buffer(text.data(), text.size()), token);
    co_return !error;
  }

  asio::awaitable<void> shut_down() override {
    error_code ignored;
    auto token = asio::redirect_error(asio::use_awaitable, ignored);
    co_await stream_.async_shutdown(token);
    stream_.next_layer().shutdown(Socket::shutdown_both, ignored);
  }

  Socket& socket() override { return stream_.next_layer(); }

 private:
  asio::ssl::stream<Socket> stream_;
};

}  // namespace

std::unique_ptr<Transport> make_transport(Socket socket, asio::ssl::context* tls) {
  if (tls == nullptr) return std::make_unique<Plain>(std::move(socket));
  return std::make_unique<Tls>(std::move(socket), *tls);
}

}  // namespace hadal::serve
