#include "hadal/engine/engine.h"

#include <algorithm>
#include <utility>

#include "hadal/model/deepseek.h"

namespace hadal::engine {
namespace {

EngineLimits complete(EngineLimits limits, const model::ModelConfig& config) {
  const int64_t longest = config.max_position_embeddings;
  if (limits.max_model_len > longest) {
    fail(ErrorKind::kUsage,
         "--max-model-len\n  expected  at most max_position_embeddings = {}\n  found     {}", longest,
         limits.max_model_len);
  }
  if (limits.max_model_len == 0) limits.max_model_len = longest;
  return limits;
}

int64_t num_pages(const EngineLimits& limits) {
  return (limits.kv_cache_tokens + Engine::kPageSize - 1) / Engine::kPageSize;
}

// The two peaks of a step: expert pairs of a layer (moe.cc), keys and values of a chunk (attention.cc); and the logits.
int64_t scratch_bytes(const model::ModelConfig& c, const EngineLimits& limits) {
  constexpr int64_t kFloat = 4, kChunk = 512;
  const int64_t pairs = limits.max_tokens_per_step * std::max<int64_t>(c.num_experts_per_tok, 1);
  const int64_t moe = pairs * (3 * c.hidden_size + 3 * c.moe_intermediate_size);
  const int64_t heads = c.num_attention_heads;
  const int64_t attention = kChunk * heads * (c.qk_nope_head_dim + c.v_head_dim + c.qk_head_dim()) +
                            limits.max_tokens_per_step * heads * (2 * c.qk_head_dim() + 2 * c.v_head_dim);
  return kFloat * (std::max(moe, attention) + limits.max_num_seqs * c.vocab_size);
}

int64_t cache_bytes(const model::ModelConfig& config, const EngineLimits& limits, Format format) {
  return KvCache::bytes(config, num_pages(limits) * Engine::kPageSize, format);
}

// The weights are there already, or lie in files whose pages can be dropped.
KvCache make_cache(const model::Model& model, const EngineLimits& limits, const ops::Precision& precision) {
  check_memory(memory_needs(model.config, limits, precision), available_memory_bytes());
  return KvCache(model.config, num_pages(limits), Engine::kPageSize, precision.cache_format());
}

}  // namespace

std::vector<MemoryNeed> memory_needs(const model::ModelConfig& config, const EngineLimits& limits,
                                     const ops::Precision& precision) {
  return {{"KV cache", cache_bytes(config, limits, precision.cache_format())},
          {"scratch", scratch_bytes(config, limits)}};
}

Engine::Engine(const model::Model& model, ThreadPool& pool, ops::Precision precision, EngineLimits limits)
    : model_(model),
      limits_(complete(limits, model.config)),
      ctx_{pool, scratch_, precision},
      cache_(make_cache(model, limits_, precision)),
      scheduler_({limits_.max_tokens_per_step, limits_.max_num_seqs, limits_.max_model_len},
                 cache_.num_pages(), kPageSize),
      batch_(kPageSize) {}

RequestId Engine::submit(Request request) {
  check_sampling(request.sampling, model_.config.vocab_size);
  for (const int32_t id : request.prompt) {
    if (id >= 0 && id < model_.config.vocab_size) continue;
    fail(ErrorKind::kRequest, "prompt\n  expected  token ids from 0 to {}\n  found     {}",
         model_.config.vocab_size - 1, id);
  }
  scheduler_.submit(next_id_, std::move(request));
  return next_id_++;
}

bool Engine::step(const std::function<void(const Event&)>& on_event) {
  drop_cancelled(on_event);
  const StepPlan plan = scheduler_.plan();
  if (plan.empty()) return !scheduler_.idle();
  build_batch(plan);
  const ops::Batch batch = batch_.batch();
  const auto frame = scratch_.frame();
  const auto x = scratch_.mat<float>(batch.num_tokens(), model_.config.hidden_size);
  const auto logits =
      scratch_.mat<float>(static_cast<int64_t>(batch.logit_rows.size()), model_.config.vocab_size);
  model::forward(ctx_, model_, batch, cache_.layers(), 0, model_.config.num_hidden_layers, x, nullptr);
  model::head(ctx_, model_, batch, x, logits);
  int64_t row = 0;
  for (const auto* parts : {&plan.decode, &plan.prefill}) {
    for (const StepPlan::Part& part : *parts) {
      part.sequence->num_computed += part.num_tokens;
      if (part.sequence->is_prefilling()) continue;
      draw(*part.sequence, {logits[row++].data, static_cast<size_t>(logits.shape[1])}, on_event);
    }
  }
  return true;
}

void Engine::build_batch(const StepPlan& plan) {
  batch_.clear();
  step_tokens_.clear();
  step_tokens_.reserve(plan.decode.size());  // the batch keeps spans into it
  for (const StepPlan::Part& part : plan.decode) {
    step_tokens_.push_back(part.sequence->answer.back());
    batch_.add({.tokens = {&step_tokens_.back(), 1},
                .first_position = static_cast<int32_t>(part.sequence->num_computed),
                .pages = part.sequence->pages,
                .decode = true});
  }
  for (const StepPlan::Part& part : plan.prefill) {
    const Sequence& s = *part.sequence;
    batch_.add(
        {.tokens = std::span(s.request.prompt)
                       .subspan(static_cast<size_t>(s.num_computed), static_cast<size_t>(part.num_tokens)),
         .first_position = static_cast<int32_t>(s.num_computed),
         .pages = s.pages,
         .wants_logits = s.num_computed + part.num_tokens == s.num_prompt()});
  }
}

void Engine::draw(Sequence& sequence, std::span<float> logits,
                  const std::function<void(const Event&)>& on_event) {
  const Request& request = sequence.request;
  const auto length = static_cast<int64_t>(sequence.answer.size());
  SamplingState state{.prompt = request.prompt, .answer = sequence.answer, .banned = {}, .allowed = {}};
  if (length < request.min_tokens) state.banned = request.stop_token_ids;
  if (request.token_mask) state.allowed = request.token_mask(sequence.answer);
  const Sampled sampled = sample(logits, request.sampling, state);
  sequence.answer.push_back(sampled.token);
  const bool stop = std::ranges::find(request.stop_token_ids, sampled.token) != request.stop_token_ids.end();
  const bool full = length + 1 >= request.max_tokens;
  const RequestId id = sequence.id;
  on_event(TokenEvent{id, sampled});
  if (!stop && !full) return;
  scheduler_.remove(id);
  cancelled_.erase(id);
  on_event(FinishedEvent{id, stop ? FinishReason::kStop : FinishReason::kLength});
}

void Engine::drop_cancelled(const std::function<void(const Event&)>& on_event) {
  for (const RequestId id : std::exchange(cancelled_, {})) {
    if (scheduler_.remove(id)) on_event(FinishedEvent{id, FinishReason::kCancelled});
  }
}

}  // namespace hadal::engine
