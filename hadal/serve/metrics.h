#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "hadal/engine/engine.h"

namespace hadal::serve {

/// What is measured of each request; vLLM's names (docs/operations.md).
enum class Measure : uint8_t {
  kTimeToFirstToken,
  kInterTokenLatency,
  kTimePerOutputToken,
  kLatency,
  kQueueTime,
  kPrefillTime,
  kDecodeTime,
  kPromptTokens,
  kGenerationTokens,
};

/// The numbers of GET /metrics. Requests are observed one by one; what the engine counts itself is read when somebody asks. Any
/// thread. Labels are names of ours only: nothing of a request's text comes here.
class Metrics {
 public:
  explicit Metrics(const std::string& model_name);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  /// Seconds, or tokens.
  void observe(Measure measure, double value);
  /// A run of the engine has ended: "stop", "length", "abort" or "error".
  void count_end(std::string_view finish_reason);
  /// route: a path of the route table, never what a client wrote.
  void count_http(std::string_view route, int status);

  /// Prometheus' text format 0.0.4. Null: there is no engine yet, and nothing is said about it.
  std::string text(const engine::EngineStats* stats) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hadal::serve
