#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "hadal/core/view.h"

namespace hadal::ops {

/// How often each layer's router has chosen each of its experts. One thread counts, any may read meanwhile: each number is right,
/// all of them together only between steps.
class ExpertCounter {
 public:
  ExpertCounter(int64_t num_layers, int64_t num_experts)
      : num_layers_(num_layers),
        num_experts_(num_experts),
        counts_(static_cast<size_t>(num_layers * num_experts)) {}

  /// ids: [tokens, experts per token], what the router of this layer chose.
  void add(int64_t layer, Mat<const int32_t> ids) noexcept {
    std::atomic<int64_t>* const counts = &counts_[static_cast<size_t>(layer * num_experts_)];
    for (int64_t t = 0; t < ids.shape[0]; ++t) {
      for (int64_t s = 0; s < ids.shape[1]; ++s) {
        auto& count = counts[ids[t][s]];  // one writer: a plain increment, no locked one
        count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      }
    }
  }

  int64_t num_layers() const { return num_layers_; }
  /// By expert.
  std::vector<int64_t> layer(int64_t number) const {
    std::vector<int64_t> counts(static_cast<size_t>(num_experts_));
    for (int64_t e = 0; e < num_experts_; ++e)
      counts[static_cast<size_t>(e)] =
          counts_[static_cast<size_t>(number * num_experts_ + e)].load(std::memory_order_relaxed);
    return counts;
  }

 private:
  int64_t num_layers_, num_experts_;
  std::vector<std::atomic<int64_t>> counts_;
};

}  // namespace hadal::ops
