#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <vector>

#include "hadal/core/arena.h"
#include "hadal/core/memory.h"
#include "hadal/core/thread_pool.h"
#include "hadal/engine/kv_cache.h"
#include "hadal/engine/make_batch.h"
#include "hadal/engine/request.h"
#include "hadal/engine/scheduler.h"
#include "hadal/model/model.h"
#include "hadal/ops/context.h"

namespace hadal::engine {

struct EngineLimits {
  int64_t max_num_seqs = 16;  // sequences that run together; the others wait
  int64_t max_tokens_per_step = 2048;
  int64_t max_model_len = 0;    // 0: the model's max_position_embeddings
  int64_t kv_cache_tokens = 0;  // the cache's size; at least one request's prompt + max_tokens
};

/// Memory that an engine with these limits takes beside the weights: its cache and its scratch.
std::vector<MemoryNeed> memory_needs(const model::ModelConfig& config, const EngineLimits& limits,
                                     const ops::Precision& precision);

/// Runs requests on a model, many at a time, each as if it were alone: a request's tokens depend on its own prompt,
/// sampling and seed, never on what shares its steps. Not thread-safe; the owner calls step() until it says idle.
class Engine {
 public:
  /// model and pool outlive the engine. Throws kCapacity when the cache does not fit the memory, with the numbers.
  Engine(const model::Model& model, ThreadPool& pool, ops::Precision precision, EngineLimits limits);

  /// Queues a request. Throws kRequest or kCapacity for one that can never run (Scheduler::submit, check_sampling).
  RequestId submit(Request request);

  /// One forward pass and one draw per sequence that is due. False, and nothing done, when no request is left.
  bool step(const std::function<void(const Event&)>& on_event);

  /// Ends a request; its FinishedEvent comes with the next step. One that is not there (any more) is left alone. May be
  /// called from on_event.
  void cancel(RequestId id) { cancelled_.insert(id); }

  static constexpr int64_t kPageSize = 64;  // x 576 x 2 B = 72 KiB a layer on V3: a core's share of L2

 private:
  void build_batch(const StepPlan& plan);
  void draw(Sequence& sequence, std::span<float> logits, const std::function<void(const Event&)>& on_event);
  void drop_cancelled(const std::function<void(const Event&)>& on_event);

  const model::Model& model_;
  EngineLimits limits_;
  Arena scratch_;
  ops::Context ctx_;
  KvCache cache_;
  Scheduler scheduler_;
  BatchBuilder batch_;
  std::vector<int32_t> step_tokens_;
  std::set<RequestId> cancelled_;
  RequestId next_id_ = 1;
};

}  // namespace hadal::engine
