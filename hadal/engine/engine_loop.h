#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "hadal/engine/engine.h"

namespace hadal::engine {

/// An engine for many threads: one runs it, any may submit and cancel. A request's events come on the running thread, in their
/// order, and its handler must neither block nor throw.
class EngineLoop {
 public:
  using Ticket = int64_t;
  /// The events' own id is the engine's; who listens knows its ticket.
  using Handler = std::function<void(const Event&)>;

  /// engine: outlives the loop, and is the loop's alone. max_waiting: requests that wait for a place, at most.
  EngineLoop(Engine& engine, int64_t max_waiting);
  EngineLoop(const EngineLoop&) = delete;
  EngineLoop& operator=(const EngineLoop&) = delete;
  ~EngineLoop() { engine_.on_layers(nullptr); }

  /// Any thread. Throws kRequest for values out of range (Engine::check), kCapacity when too many wait already, and when the
  /// loop is to end. What only the scheduler can refuse comes as a FailedEvent.
  Ticket submit(Request request, Handler handler);
  /// Any thread. The request's pages are free by the next step; its last event is a FinishedEvent, unless it has ended.
  void cancel(Ticket ticket);
  /// Any thread: the cache forgets the prompts that it keeps for later ones.
  void forget_prefixes();

  /// The engine's numbers after its last step, with the requests that it has not seen yet among those that wait.
  EngineStats stats() const;
  const EngineLimits& limits() const { return engine_.limits(); }
  const ops::ExpertCounter& experts() const { return engine_.experts(); }

  /// Runs the engine until stop() and, after that, until all that was accepted has ended. One call.
  void run();
  /// Any thread: submit refuses from now on.
  void stop();
  /// Any thread, after stop(): cancels what still runs.
  void abort();

 private:
  struct Submission {
    Ticket ticket;
    Request request;
    Handler handler;
  };
  void take_mail();
  void read_cancellations();
  void begin(Submission submission);
  void deliver(const Event& event);
  void publish();
  bool wait_for_work();

  Engine& engine_;
  const int64_t max_waiting_;

  mutable std::mutex mutex_;  // of what follows, up to running_
  std::condition_variable wake_;
  std::vector<Submission> submitted_;
  std::vector<Ticket> cancelled_;
  bool forget_ = false, stopping_ = false, aborting_ = false;
  Ticket next_ticket_ = 1;
  EngineStats stats_;

  struct Running {
    Ticket ticket;
    Handler handler;
  };
  std::map<RequestId, Running> running_;  // the running thread's, as what follows
  std::map<Ticket, RequestId> ids_;
};

}  // namespace hadal::engine
