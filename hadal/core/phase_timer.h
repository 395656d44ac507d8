#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace hadal {

/// What a forward pass spends its time on. kAttention: kv_b_proj, scores and sums; kExperts: the router, routed and shared
/// experts; kDense: dense layers' MLPs and the projections around attention; kOther: everything that no scope claims.
enum class Phase : uint8_t { kAttention, kExperts, kDense, kHead, kSampling, kOther };
inline constexpr size_t kNumPhases = 6;
std::string_view to_string(Phase phase);

/// Seconds by phase, each moment counted once: a scope inside another stops the outer one's clock. While a recorder lives
/// it takes what PhaseScopes of its own thread report; work that this thread hands to a pool and waits for is in there.
class PhaseRecorder {
 public:
  using Clock = std::chrono::steady_clock;
  /// One scope from its start to its end, inner ones included: what a trace viewer draws.
  struct Event {
    Phase phase = Phase::kOther;
    Clock::time_point begin, end;
  };

  explicit PhaseRecorder(bool keep_events = false);
  ~PhaseRecorder();
  PhaseRecorder(const PhaseRecorder&) = delete;
  PhaseRecorder& operator=(const PhaseRecorder&) = delete;

  /// Of this thread, or null: nobody measures.
  static PhaseRecorder* current() { return current_; }

  /// Seconds since the start or the last reset, by Phase; their sum is the time that passed.
  std::array<double, kNumPhases> seconds();
  void reset();
  const std::vector<Event>& events() const { return events_; }

 private:
  friend class PhaseScope;
  void switch_to(Phase phase);

  static constinit thread_local PhaseRecorder* current_;
  PhaseRecorder* outer_;
  bool keep_events_;
  Phase phase_ = Phase::kOther;  // whose clock runs, since `since_`
  Clock::time_point since_;
  std::array<double, kNumPhases> seconds_{};
  std::vector<Event> events_;
};

/// The time from here to the end of the block belongs to `phase`. Without a recorder, one load and one branch.
class PhaseScope {
 public:
  explicit PhaseScope(Phase phase) : recorder_(PhaseRecorder::current()) {
    if (recorder_ != nullptr) begin(phase);
  }
  ~PhaseScope() {
    if (recorder_ != nullptr) end();
  }
  PhaseScope(const PhaseScope&) = delete;
  PhaseScope& operator=(const PhaseScope&) = delete;

 private:
  void begin(Phase phase);
  void end();

  PhaseRecorder* recorder_;
  Phase outer_ = Phase::kOther, phase_ = Phase::kOther;
  PhaseRecorder::Clock::time_point begin_;
};

}  // namespace hadal
