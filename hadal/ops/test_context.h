#pragma once

#include "hadal/ops/context.h"

namespace hadal::ops {

/// A Context and what it refers to.
class TestContext {
 public:
  explicit TestContext(Precision precision = {}, int threads = 1)
      : TestContext(precision, unpinned_threads(threads)) {}
  TestContext(Precision precision, const ThreadPlan& plan)
      : pool_(plan), context_{pool_, scratch_, precision} {}
  operator Context&() { return context_; }  // NOLINT(google-explicit-constructor): it is one
  Arena& scratch() { return scratch_; }

 private:
  ThreadPool pool_;
  Arena scratch_;
  Context context_;
};

inline constexpr Precision kFloat32{.f32 = true};
inline constexpr Precision kBFloat16{};
inline constexpr Precision kW8A8{.f8_activations = true};
inline constexpr Precision kW8A8PowersOfTwo{.f8_activations = true, .ue8m0 = true};
inline constexpr Precision kAllPrecisions[] = {kFloat32, kBFloat16, kW8A8, kW8A8PowersOfTwo};

}  // namespace hadal::ops
