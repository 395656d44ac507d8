#pragma once

#include <functional>
#include <optional>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>

#include "hadal/serve/exchange.h"

namespace hadal::serve {

namespace asio = boost::asio;

/// Threads for what a large request needs before it can be computed: text to tokens, a template, a grammar. That can take
/// seconds, for which the threads of the connections would write no other answer's words.
class Aside {
 public:
  explicit Aside(int threads) { pool_.emplace(static_cast<size_t>(threads)); }

  /// Calls `work` on one of them; what it throws is thrown here.
  asio::awaitable<void> run(std::function<void()> work);
  /// The same for the reading of a request: at once where that is quickly done.
  asio::awaitable<void> read(const Exchange& http, std::function<void()> work);
  /// Ends the threads, after what they have begun. Work that waits is dropped, and with it who waits for it: so this comes before
  /// the end of what runs the connections. The last call.
  void finish();

 private:
  std::optional<asio::thread_pool> pool_;
};

}  // namespace hadal::serve
