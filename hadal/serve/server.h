#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "hadal/serve/service.h"

namespace hadal::serve {

/// Listens and answers on threads of its own, from construction to destruction. SIGTERM or SIGINT ends it gracefully: new
/// requests are refused, running answers may end within the drain timeout; a second signal ends them at once. SIGHUP reads the
/// TLS certificate again.
class Server {
 public:
  /// Throws kUsage for an address that cannot be listened on, for one that others reach when there are no keys, and for TLS files
  /// that do not work.
  explicit Server(Service& service);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Where it listens: "http://127.0.0.1:8000"; a port of 0 has become a real one.
  const std::string& address() const;
  /// Called on one of the server's threads at the first signal, and at the second or when the drain timeout has passed.
  void on_signal(std::function<void()> drain, std::function<void()> abort);
  /// Takes no more connections, and waits until the ones that there are have got their answers, at most so long.
  void finish(std::chrono::seconds longest);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hadal::serve
