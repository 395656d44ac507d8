#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "hadal/core/arena.h"
#include "hadal/core/thread_pool.h"
#include "hadal/core/view.h"
#include "hadal/core/weight.h"
#include "hadal/ops/expert_counter.h"

namespace hadal::ops {

/// How activations enter a matrix product, and the cache. Everything else between products is FP32.
struct Precision {
  bool f32 = false;  // --dtype float32: not rounded at all; else BF16, rounded once
  bool f8_activations =
      false;           // --activation-format fp8: E4M3 per token and K block, for FP8 weights only (W8A8)
  bool ue8m0 = false;  // W8A8 scales are powers of two (the checkpoint's scale_fmt)
  std::optional<Format> cache{};  // --kv-cache-dtype, kF32, kBF16 or kF8E4M3; else as f32 says

  /// The format of latents in the cache.
  Format cache_format() const { return cache.value_or(f32 ? Format::kF32 : Format::kBF16); }
};

/// Sees what goes into linear maps, before any rounding: for the calibration of quantised weights.
class InputObserver {
 public:
  virtual ~InputObserver() = default;
  /// Rows rows[0], rows[1], ... of x, or all of them if `rows` is null, are about to go through w. Called by the thread that
  /// called the op. An MLP's gate stands for its up projection too.
  virtual void see(const Weight& w, Mat<const float> x, const std::span<const int32_t>* rows) = 0;
};

/// What every op needs and no op owns.
struct Context {
  ThreadPool& pool;
  Arena& scratch;
  Precision precision;
  InputObserver* observer = nullptr;
  ExpertCounter* experts = nullptr;  // told what the routers choose
};

}  // namespace hadal::ops
