#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "hadal/core/arena.h"
#include "hadal/core/memory.h"
#include "hadal/core/thread_pool.h"
#include "hadal/engine/draft_gate.h"
#include "hadal/engine/kv_cache.h"
#include "hadal/engine/make_batch.h"
#include "hadal/engine/mask_worker.h"
#include "hadal/engine/prefix_store.h"
#include "hadal/engine/request.h"
#include "hadal/engine/scheduler.h"
#include "hadal/engine/speculate.h"
#include "hadal/model/model.h"
#include "hadal/ops/context.h"

namespace hadal::engine {

struct EngineLimits {
  int64_t max_num_seqs = 16;  // sequences that run together; the others wait
  int64_t max_tokens_per_step = 2048;
  int64_t max_model_len = 0;    // 0: the model's max_position_embeddings
  int64_t kv_cache_tokens = 0;  // the cache's size; at least one request's prompt + max_tokens
  int64_t max_waiting = INT64_MAX;
  bool prefix_caching = true;
  /// Answers' pages serve later prompts too. They hold what decoding computed, whose last bits a prompt's differ from: what
  /// follows is then no longer the same for whoever has another cache. Not together with a kv_cache_folder.
  bool cache_answers = false;
  Speculation speculation = Speculation::kOff;
  int64_t num_speculative_tokens = 4;  // drafts at most; MTP makes one
  std::string kv_cache_folder{};       // where computed prompts are kept for other processes; "": nowhere
  int64_t kv_cache_folder_bytes = int64_t{10} << 30;
};

/// Memory that an engine with these limits takes beside the weights: its cache and its scratch.
std::vector<MemoryNeed> memory_needs(const model::ModelConfig& config, const EngineLimits& limits,
                                     const ops::Precision& precision);

/// What an engine has done and how full it is; counts since its start.
struct EngineStats {
  int64_t running = 0, waiting = 0;
  int64_t pages_total = 0, pages_used = 0, pages_cached = 0;  // cached: full of prompts that nobody uses now
  int64_t steps = 0, preemptions = 0;
  int64_t prompt_tokens = 0, generated_tokens = 0;         // computed prompts; drawn tokens
  int64_t prefix_query_tokens = 0, prefix_hit_tokens = 0;  // of prompts that began to run
  int64_t drafted_tokens = 0, accepted_tokens = 0;
};

using OnEvent = std::function<void(const Event&)>;

/// Runs requests on a model, many at a time, each as if it were alone: a request's tokens depend on its own prompt,
/// sampling and seed, never on what shares its steps. Not thread-safe (EngineLoop is); the owner calls step() until it says idle.
class Engine {
 public:
  /// model and pool outlive the engine. Throws kCapacity when the cache does not fit the memory, with the numbers.
  Engine(const model::Model& model, ThreadPool& pool, ops::Precision precision, EngineLimits limits);

  /// Throws kRequest for sampling values and token ids out of range. Any thread.
  void check(const Request& request) const;

  /// Queues a request. Throws kRequest or kCapacity for one that can never run or finds the queue full (check,
  /// Scheduler::submit).
  RequestId submit(Request request);

  /// One forward pass and one draw per sequence that is due. False, and nothing done, when no request is left. A failure
  /// ends the requests that were in the step, each with a FailedEvent; the engine goes on.
  bool step(const OnEvent& on_event);

  /// Ends a request; its FinishedEvent comes with the next step. One that is not there (any more) is left alone. May be
  /// called from on_event, and from the hook of on_layers.
  void cancel(RequestId id) { cancelled_.insert(id); }

  /// Called a few times within a step. When all of its requests have been cancelled by then, the step is given up.
  void on_layers(std::function<void()> hook) { on_layers_ = std::move(hook); }

  /// Forgets all prompts that the cache keeps for later ones.
  void forget_prefixes() { scheduler_.forget_prefixes(); }

  EngineStats stats() const;
  const EngineLimits& limits() const { return limits_; }
  const model::ModelConfig& config() const { return model_.config; }
  /// What the routers have chosen, by layer; the MTP module's comes after the model's. Any thread.
  const ops::ExpertCounter& experts() const { return experts_; }

  static constexpr int64_t kPageSize = 64;  // x 576 x 2 B = 72 KiB a layer on V3: a core's share of L2

 private:
  bool compute(const StepPlan& plan, const OnEvent& on_event);
  void build_batch(const StepPlan& plan);
  bool abandoned(const StepPlan& plan) const;
  void read_part(const StepPlan::Part& part, Mat<float> logits, const OnEvent& on_event);
  void score(Sequence& sequence, Mat<float> logits, int64_t rows, const OnEvent& on_event);
  bool draw(Sequence& sequence, std::span<float> logits, const OnEvent& on_event);
  void judge_drafts(const StepPlan& plan, int64_t drafted, int64_t drawn, double seconds);
  void make_drafts(const StepPlan& plan, Mat<const float> x);
  void remove_ended(const OnEvent& on_event);
  void drop_cancelled(const OnEvent& on_event);
  void report_started(const StepPlan& plan, const OnEvent& on_event);

  const model::Model& model_;
  EngineLimits limits_;
  Arena scratch_;
  ops::ExpertCounter experts_;
  ops::Context ctx_;
  KvCache cache_;
  std::unique_ptr<PrefixStore> store_;
  Scheduler scheduler_;
  BatchBuilder batch_;
  MtpDrafter mtp_;
  DraftGate gate_;
  MaskWorker masks_;
  std::vector<int32_t> step_tokens_;
  std::vector<std::pair<RequestId, Event>> ended_;  // in this step, whose batch still refers to them
  std::set<RequestId> cancelled_;
  std::function<void()> on_layers_;
  EngineStats counts_;
  RequestId next_id_ = 1;
};

}  // namespace hadal::engine
