#pragma once

#include <array>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "hadal/core/phase_timer.h"
#include "hadal/engine/kv_cache.h"
#include "hadal/engine/make_batch.h"
#include "hadal/model/cost.h"
#include "hadal/model/model.h"
#include "hadal/ops/context.h"

namespace hadal::engine {

/// One measured stretch of steps.
struct Timing {
  int64_t tokens = 0;                        // computed, of all sequences together
  double seconds = 0;                        // of wall time
  std::array<double, kNumPhases> phases{};   // the same, by Phase
  model::StepWork work;                      // what the steps had to read and multiply, by model::CostModel
  double least_seconds = 0;                  // and what that takes at the machine's limits
  std::vector<PhaseRecorder::Event> events;  // if asked for
};

/// Measures a model's forward passes as the engine runs them: the same batches, paged cache, head and greedy sampling,
/// without requests and scheduling. Earlier tokens are not computed but made up: their latents are random numbers, which
/// cost what real ones do.
class Bench {
 public:
  static constexpr int64_t kTokensPerStep = 2048;  // of a prompt: EngineLimits' default

  /// cache_tokens: the most tokens that any run's sequences hold together, each rounded up to whole pages. Throws kCapacity
  /// when the cache does not fit. model and pool outlive the bench.
  Bench(const model::Model& model, ThreadPool& pool, ops::Precision precision, int64_t cache_tokens,
        const MachineLimits& limits);

  /// A prompt of so many random tokens, up to and with its first answer token.
  Timing prefill(int64_t prompt, bool keep_events = false);

  /// `batch` sequences that each have `depth` tokens compute `gen` more, together, one a step; fewer when `most_seconds` have
  /// passed.
  Timing decode(int64_t batch, int64_t depth, int64_t gen, double most_seconds, bool keep_events = false);

  /// Tokens of cache that a sequence of so many tokens takes: whole pages.
  static int64_t paged(int64_t tokens);

 private:
  void fill_cache();
  void fill_layer(const ops::LayerCache& cache, uint64_t key);
  void step(const BatchBuilder& batch, std::span<int32_t> next);
  void finish(PhaseRecorder& recorder, PhaseRecorder::Clock::time_point begin, Timing& timing) const;
  void count(const model::StepWork& work, Timing& timing) const;
  std::vector<int32_t> random_tokens(int64_t count) const;
  std::vector<int32_t> pages_of(int64_t sequence, int64_t tokens) const;

  const model::Model& model_;
  MachineLimits limits_;
  model::CostModel cost_;
  Arena scratch_;
  ops::Context ctx_;
  KvCache cache_;
};

}  // namespace hadal::engine
