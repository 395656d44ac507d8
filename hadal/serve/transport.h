#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>

namespace hadal::serve {

namespace asio = boost::asio;
using Socket = asio::generic::stream_protocol::socket;  // TCP or Unix

/// The bytes of one connection, plain or TLS. Used on the connection's strand only.
class Transport {
 public:
  virtual ~Transport() = default;

  /// What a server says and hears first; nothing for plain sockets. False: it failed.
  virtual asio::awaitable<bool> handshake() = 0;
  /// At most `size` bytes; 0: the other side has ended, or reading failed.
  virtual asio::awaitable<size_t> read_some(char* data, size_t size) = 0;
  /// All of the text. False: the other side does not take it.
  virtual asio::awaitable<bool> write(std::string_view text) = 0;
  virtual asio::awaitable<void> shut_down() = 0;

  virtual Socket& socket() = 0;
};

std::unique_ptr<Transport> make_transport(Socket socket, asio::ssl::context* tls);

}  // namespace hadal::serve
