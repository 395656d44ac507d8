#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "hadal/engine/scheduler.h"

namespace hadal::engine {

/// Computes the masks that a step's draws need while the step runs, on a thread of its own: what a grammar allows takes up to
/// milliseconds to find in 129,280 tokens.
class MaskWorker {
 public:
  MaskWorker() = default;
  MaskWorker(const MaskWorker&) = delete;
  MaskWorker& operator=(const MaskWorker&) = delete;
  ~MaskWorker();

  /// Begins with the sequences of the plan that draw; they live, and their answers stay as they are, until take() or end().
  void begin(const StepPlan& plan);
  /// The mask for the sequence's next draw, as Request::token_mask gives it and throws: waits for it, or calls it here, for
  /// the draws after drafts that were right, which begin() could not know.
  std::span<const uint32_t> take(const Sequence& sequence);
  /// Returns when nothing is computed any more. What nobody took is dropped.
  void end();

 private:
  struct Task {
    const Sequence* sequence = nullptr;  // null: taken
    std::span<const uint32_t> mask;
    std::exception_ptr error;
  };
  void run();

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<Task> tasks_;
  size_t num_done_ = 0;
  bool stop_ = false;
  std::thread thread_;  // from the first mask on
};

}  // namespace hadal::engine
