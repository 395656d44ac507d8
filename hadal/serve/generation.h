#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include "hadal/engine/engine_loop.h"
#include "hadal/serve/exchange.h"
#include "hadal/serve/service.h"

namespace hadal::serve {

/// The running requests behind one answer: one for each prompt and choice, told apart by number. Its events come in order;
/// when it goes, what still runs is cancelled, so a client that hangs up frees its pages at the next step. The request's meter and
/// the server's metrics hear of all of it from here, and so does the record of requests. On one strand.
class Generation {
 public:
  /// num_choices: runs of each prompt, with numbers one after the other. Throws ApiError 503 while there is no engine.
  Generation(Exchange& http, Service& service, int64_t num_choices);
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;
  ~Generation();

  /// Throws what engine_request and EngineLoop::submit throw; then the requests before it are cancelled when this object goes.
  void submit(size_t number, Submission submission);
  /// Its answer has ended by a rule that the engine does not know, a stop string: no more events of it are wanted.
  void cancel(size_t number);

  struct Item {
    size_t number = 0;
    engine::Event event;
  };
  /// Everything that has come since the last call; waits for something, at most so long. Empty: nothing came. Throws ApiError
  /// 504 when something still runs and the time that the server gives a request is up.
  asio::awaitable<std::vector<Item>> next(std::chrono::steady_clock::duration timeout);
  /// Ends a wait, from the same strand.
  void interrupt();

 private:
  struct Inbox;
  void withdraw(size_t number);
  void note(const std::vector<Item>& items);
  void check_time(std::chrono::steady_clock::time_point now);
  void write_down(size_t number, const engine::Event& event);
  void write_end(size_t number, RecordEnd end) noexcept;

  Exchange& http_;
  Service& service_;
  engine::EngineLoop& loop_;
  RequestMeter& meter_;
  std::shared_ptr<Inbox> inbox_;
  std::vector<engine::EngineLoop::Ticket> tickets_;  // by number; 0: ended or cancelled
  std::chrono::steady_clock::time_point deadline_;
  std::map<size_t, RequestRecord> records_;  // of what runs, if it is to be recorded
};

}  // namespace hadal::serve
