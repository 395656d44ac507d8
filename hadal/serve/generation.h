#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include "hadal/engine/engine_loop.h"

namespace hadal::serve {

namespace asio = boost::asio;

/// The running requests behind one answer: one for each prompt and choice, told apart by number. Its events come in order;
/// when it goes, what still runs is cancelled, so a client that hangs up frees its pages at the next step. On one strand.
class Generation {
 public:
  Generation(engine::EngineLoop& loop, asio::any_io_executor executor);
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;
  ~Generation();

  /// Throws what EngineLoop::submit throws; then the requests before it are cancelled when this object goes.
  void submit(size_t number, engine::Request request);
  /// Its events are no longer wanted.
  void cancel(size_t number);

  struct Item {
    size_t number = 0;
    engine::Event event;
  };
  /// Everything that has come since the last call; waits for something, at most so long. Empty: nothing came.
  asio::awaitable<std::vector<Item>> next(std::chrono::steady_clock::duration timeout);
  /// Ends a wait, from the same strand.
  void interrupt();

 private:
  struct Inbox;
  engine::EngineLoop& loop_;
  std::shared_ptr<Inbox> inbox_;
  std::vector<engine::EngineLoop::Ticket> tickets_;  // by number; 0: ended or cancelled
};

}  // namespace hadal::serve
