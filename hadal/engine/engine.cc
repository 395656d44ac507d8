#include "hadal/engine/engine.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <utility>

#include "hadal/core/json.h"
#include "hadal/kernels/kernel_table.h"
#include "hadal/model/deepseek.h"

namespace hadal::engine {
namespace {

constexpr int kLatentVersion = 1;  // to be raised when a prompt's latents come out with other bits
constexpr int64_t kMaxConfigBytes = 1 << 20;

EngineLimits complete(EngineLimits limits, const model::ModelConfig& config) {
  const int64_t longest = config.max_position_embeddings;
  if (limits.max_model_len > longest) {
    fail(ErrorKind::kUsage,
         "--max-model-len\n  expected  at most max_position_embeddings = {}\n  found     {}", longest,
         limits.max_model_len);
  }
  if (limits.max_model_len == 0) limits.max_model_len = longest;
  if (limits.speculation == Speculation::kMtp && config.num_nextn_predict_layers == 0) {
    fail(ErrorKind::kUsage,
         "speculation by MTP\n  expected  a checkpoint with an MTP module (num_nextn_predict_layers)\n"
         "  found     none\n  hint      speculation by ngram needs none");
  }
  return limits;
}

int64_t num_pages(const EngineLimits& limits) {
  return (limits.kv_cache_tokens + Engine::kPageSize - 1) / Engine::kPageSize;
}

// One for each sequence that draws, with the drafts that it checks, and those of scored prompts.
int64_t max_logit_rows(const EngineLimits& limits) {
  const int64_t drafts = limits.speculation == Speculation::kOff ? 0 : limits.num_speculative_tokens;
  return limits.max_num_seqs * (1 + drafts) + SchedulerLimits{}.max_scored_tokens;
}

// The two peaks of a step: expert pairs of a layer (moe.cc), keys and values of a chunk (attention.cc); and the logits.
int64_t scratch_bytes(const model::ModelConfig& c, const EngineLimits& limits) {
  constexpr int64_t kFloat = 4, kChunk = 512;
  const int64_t pairs = limits.max_tokens_per_step * std::max<int64_t>(c.num_experts_per_tok, 1);
  const int64_t moe = pairs * (3 * c.hidden_size + 3 * c.moe_intermediate_size);
  const int64_t heads = c.num_attention_heads;
  const int64_t attention = kChunk * heads * (c.qk_nope_head_dim + c.v_head_dim + c.qk_head_dim()) +
                            limits.max_tokens_per_step * heads * (2 * c.qk_head_dim() + 2 * c.v_head_dim);
  return kFloat * (std::max(moe, attention) + max_logit_rows(limits) * c.vocab_size);
}

int64_t cache_bytes(const model::ModelConfig& config, const EngineLimits& limits, Format format) {
  return KvCache::bytes(config, num_pages(limits) * Engine::kPageSize, format);
}

// The weights are there already, or lie in files whose pages can be dropped.
KvCache make_cache(const model::Model& model, const EngineLimits& limits, const ops::Precision& precision) {
  check_memory(memory_needs(model.config, limits, precision), available_memory_bytes());
  return KvCache(model.config, num_pages(limits), Engine::kPageSize, precision.cache_format());
}

// All that the bits of a page depend on. Files are known by size and time, as make knows them: a checksum of V3 takes minutes.
std::string identity_of(const model::Model& model, const ops::Precision& precision) {
  std::string text =
      fmt::format("{} {} {} {} {} {} {}", kernels::kernels().isa, precision.f32, precision.f8_activations,
                  precision.ue8m0, to_string(precision.cache_format()), Engine::kPageSize, kLatentVersion);
  std::error_code ignored;
  const std::string config = model.checkpoint.folder() + "/config.json";
  text += read_text_file(config, kMaxConfigBytes, ErrorKind::kIo);
  for (const auto& file : model.checkpoint.files()) {
    const std::filesystem::path path(file->path());
    text += fmt::format(" {} {} {}", path.filename().string(), std::filesystem::file_size(path, ignored),
                        std::filesystem::last_write_time(path, ignored).time_since_epoch().count());
  }
  return text;
}

std::unique_ptr<PrefixStore> make_store(const model::Model& model, const EngineLimits& limits,
                                        const ops::Precision& precision, const KvCache& cache) {
  if (limits.kv_cache_folder.empty()) return nullptr;
  return std::make_unique<PrefixStore>(limits.kv_cache_folder, limits.kv_cache_folder_bytes,
                                       identity_of(model, precision), cache);
}

// Rows of logits that build_batch asks for.
int64_t num_rows(const StepPlan::Part& part) {
  const Sequence& s = *part.sequence;
  if (s.is_prefilling() ? s.is_scored() : !s.drafts.empty()) return part.num_tokens;
  return part.draws() ? 1 : 0;
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
      experts_(model.config.num_hidden_layers + model.config.num_nextn_predict_layers,
               model.config.n_routed_experts),
      ctx_{pool, scratch_, precision, nullptr, &experts_},
      cache_(make_cache(model, limits_, precision)),
      store_(make_store(model, limits_, precision, cache_)),
      scheduler_({.max_tokens_per_step = limits_.max_tokens_per_step,
                  .max_num_seqs = limits_.max_num_seqs,
                  .max_model_len = limits_.max_model_len,
                  .max_waiting = limits_.max_waiting,
                  .prefix_caching = limits_.prefix_caching,
                  .cache_answers = limits_.cache_answers},
                 cache_.num_pages(), kPageSize, store_.get()),
      batch_(kPageSize),
      mtp_(model, kPageSize) {}

void Engine::check(const Request& request) const {
  const int64_t vocab_size = model_.config.vocab_size;
  check_sampling(request.sampling, vocab_size);
  if (request.num_prompt_logprobs < -1 || request.num_prompt_logprobs > vocab_size) {
    fail(ErrorKind::kRequest, "prompt_logprobs\n  expected  0 to the vocabulary's size\n  found     {}",
         request.num_prompt_logprobs);
  }
  for (const int32_t id : request.prompt) {
    if (id >= 0 && id < vocab_size) continue;
    fail(ErrorKind::kRequest, "prompt\n  expected  token ids from 0 to {}\n  found     {}", vocab_size - 1,
         id);
  }
}

RequestId Engine::submit(Request request) {
  check(request);
  scheduler_.submit(next_id_, std::move(request));
  return next_id_++;
}

EngineStats Engine::stats() const {
  EngineStats stats = counts_;
  const PageAllocator& pages = scheduler_.pages();
  stats.running = scheduler_.num_running();
  stats.waiting = scheduler_.num_waiting();
  stats.pages_total = pages.num_pages();
  stats.pages_used = pages.num_pages() - pages.num_free();
  stats.pages_cached = pages.num_cached();
  stats.preemptions = scheduler_.num_preemptions();
  return stats;
}

bool Engine::step(const OnEvent& on_event) {
  drop_cancelled(on_event);
  const StepPlan plan = scheduler_.plan();
  if (plan.empty()) return !scheduler_.idle();
  report_started(plan, on_event);
  ++counts_.steps;
  const auto start = std::chrono::steady_clock::now();
  const EngineStats before = counts_;
  masks_.begin(plan);
  try {
    if (compute(plan, on_event)) {
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      judge_drafts(plan, counts_.drafted_tokens - before.drafted_tokens,
                   counts_.generated_tokens - before.generated_tokens, seconds.count());
    }
  } catch (const std::exception& e) {  // whoever was in the step; the next one is without them
    const auto* error = dynamic_cast<const Error*>(&e);
    const auto kind = error != nullptr ? error->kind() : ErrorKind::kInternal;
    ended_.clear();
    for (const auto* parts : {&plan.decode, &plan.prefill}) {
      for (const StepPlan::Part& part : *parts)
        ended_.emplace_back(part.sequence->id, FailedEvent{part.sequence->id, kind, e.what()});
    }
  }
  masks_.end();
  remove_ended(on_event);
  return true;
}

void Engine::report_started(const StepPlan& plan, const OnEvent& on_event) {
  for (const Sequence* sequence : plan.started) {
    counts_.prefix_query_tokens += sequence->num_prompt();
    counts_.prefix_hit_tokens += sequence->num_cached;
    on_event(StartedEvent{sequence->id, sequence->num_cached});
  }
}

bool Engine::abandoned(const StepPlan& plan) const {
  const auto gone = [&](const StepPlan::Part& part) { return cancelled_.contains(part.sequence->id); };
  return std::ranges::all_of(plan.decode, gone) && std::ranges::all_of(plan.prefill, gone);
}

// False if it was given up half-way: nobody waits for any of it.
bool Engine::compute(const StepPlan& plan, const OnEvent& on_event) {
  constexpr int64_t kLayersAtOnce = 8;  // between two looks at who has gone
  build_batch(plan);
  const ops::Batch batch = batch_.batch();
  const auto frame = scratch_.frame();
  const auto x = scratch_.mat<float>(batch.num_tokens(), model_.config.hidden_size);
  const int64_t layers = model_.config.num_hidden_layers;
  for (int64_t first = 0; first < layers; first += kLayersAtOnce) {
    model::forward(ctx_, model_, batch, cache_.layers(), first, std::min(first + kLayersAtOnce, layers), x,
                   nullptr);
    if (on_layers_) on_layers_();
    if (abandoned(plan)) return false;
  }
  const auto rows = static_cast<int64_t>(batch.logit_rows.size());
  const auto logits = scratch_.mat<float>(rows, model_.config.vocab_size);
  model::head(ctx_, model_, batch, x, logits);
  int64_t row = 0;
  for (const auto* parts : {&plan.decode, &plan.prefill}) {
    for (const StepPlan::Part& part : *parts) {
      const int64_t count = num_rows(part);
      read_part(part, logits.rows(row, count), on_event);
      row += count;
    }
  }
  make_drafts(plan, x);
  return true;
}

// Steps that compute prompts say nothing about what drafts cost.
void Engine::judge_drafts(const StepPlan& plan, int64_t drafted, int64_t drawn, double seconds) {
  if (limits_.speculation != Speculation::kOff && plan.prefill.empty())
    gate_.see(std::ssize(plan.decode), drafted > 0, drawn, seconds);
}

void Engine::make_drafts(const StepPlan& plan, Mat<const float> x) {
  if (limits_.speculation == Speculation::kOff) return;
  const bool pays = gate_.wants(std::ssize(plan.decode) + std::ssize(plan.prefill));
  const auto goes_on = [&](const Sequence& s) {
    return pays && !cancelled_.contains(s.id) &&
           std::ranges::none_of(ended_, [&](const auto& ended) { return ended.first == s.id; });
  };
  if (limits_.speculation == Speculation::kMtp) {
    mtp_.draft(ctx_, plan, cache_.layers(), x, goes_on);
    return;
  }
  constexpr int64_t kMinNgram = 2, kMaxNgram = 4;
  for (const auto* parts : {&plan.decode, &plan.prefill}) {
    for (const StepPlan::Part& part : *parts) {
      Sequence& s = *part.sequence;
      if (s.answer.empty() || s.num_computed != s.num_tokens() - 1 || !goes_on(s)) continue;
      s.drafts =
          ngram_drafts(s.request.prompt, s.answer, kMinNgram, kMaxNgram, limits_.num_speculative_tokens);
    }
  }
}

void Engine::build_batch(const StepPlan& plan) {
  batch_.clear();
  step_tokens_.clear();
  int64_t answers = 0;
  for (const StepPlan::Part& part : plan.decode) answers += part.num_tokens;
  step_tokens_.reserve(static_cast<size_t>(answers));  // the batch keeps spans into it
  for (const StepPlan::Part& part : plan.decode) {
    const Sequence& s = *part.sequence;
    const size_t begin = step_tokens_.size();
    for (int64_t i = s.num_computed - s.num_prompt(); i < s.num_computed - s.num_prompt() + part.num_tokens;
         ++i) {
      const auto at = static_cast<size_t>(i);
      step_tokens_.push_back(at < s.answer.size() ? s.answer[at] : s.drafts[at - s.answer.size()]);
    }
    batch_.add({.tokens = std::span(step_tokens_).subspan(begin),
                .first_position = static_cast<int32_t>(s.num_computed),
                .pages = s.pages,
                .decode = true,
                .all_logits = !s.drafts.empty(),
                .wants_logits = part.draws()});
  }
  for (const StepPlan::Part& part : plan.prefill) {
    const Sequence& s = *part.sequence;
    batch_.add(
        {.tokens = std::span(s.request.prompt)
                       .subspan(static_cast<size_t>(s.num_computed), static_cast<size_t>(part.num_tokens)),
         .first_position = static_cast<int32_t>(s.num_computed),
         .pages = s.pages,
         .all_logits = s.is_scored(),
         .wants_logits = part.draws()});
  }
}

// What follows from a part's rows of logits. A failure here, in a mask or a draw, is this request's alone.
void Engine::read_part(const StepPlan::Part& part, Mat<float> logits, const OnEvent& on_event) {
  Sequence& sequence = *part.sequence;
  const bool prefills = sequence.is_prefilling(), draws = part.draws();
  const int64_t rows = logits.shape[0];
  const auto row = [&](int64_t i) {
    return std::span<float>(logits[i].data, static_cast<size_t>(logits.shape[1]));
  };
  try {
    if (prefills) counts_.prompt_tokens += part.num_tokens;
    if (prefills && sequence.is_scored()) score(sequence, logits, part.num_tokens, on_event);
    scheduler_.commit(part);
    if (!draws) return;
    if (sequence.request.max_tokens == 0) {
      ended_.emplace_back(sequence.id, FinishedEvent{sequence.id, FinishReason::kLength});
      return;
    }
    const std::vector<int32_t> drafts = std::exchange(sequence.drafts, {});
    const int64_t first = rows - 1 - static_cast<int64_t>(drafts.size());
    counts_.drafted_tokens += std::ssize(drafts);
    sequence.num_computed -= std::ssize(drafts);  // until they turn out to be the answer
    for (size_t i = 0; draw(sequence, row(first + static_cast<int64_t>(i)), on_event); ++i) {
      if (i >= drafts.size() || sequence.answer.back() != drafts[i]) break;
      ++sequence.num_computed;
      ++counts_.accepted_tokens;
    }
  } catch (const Error& e) {
    ended_.emplace_back(sequence.id, FailedEvent{sequence.id, e.kind(), e.what()});
  }
}

// Row i of the part is about token num_computed + i + 1 of the prompt; the prompt's last row is about the answer.
void Engine::score(Sequence& sequence, Mat<float> logits, int64_t rows, const OnEvent& on_event) {
  const auto& prompt = sequence.request.prompt;
  PromptEvent event{.id = sequence.id, .first = sequence.num_computed + 1, .tokens = {}};
  for (int64_t i = 0; i < rows; ++i) {
    const auto next = static_cast<size_t>(sequence.num_computed + i + 1);
    if (next >= prompt.size()) break;
    event.tokens.push_back(score_token({logits[i].data, static_cast<size_t>(logits.shape[1])}, prompt[next],
                                       sequence.request.num_prompt_logprobs));
  }
  if (!event.tokens.empty()) on_event(event);
}

// True if the answer goes on after this token.
bool Engine::draw(Sequence& sequence, std::span<float> logits, const OnEvent& on_event) {
  const Request& request = sequence.request;
  const auto length = static_cast<int64_t>(sequence.answer.size());
  SamplingState state{.prompt = request.prompt, .answer = sequence.answer, .banned = {}, .allowed = {}};
  if (length < request.min_tokens) state.banned = request.stop_token_ids;
  if (request.token_mask) state.allowed = masks_.take(sequence);
  const Sampled sampled = sample(logits, request.sampling, state);
  sequence.answer.push_back(sampled.token);
  ++counts_.generated_tokens;
  const bool stop = std::ranges::find(request.stop_token_ids, sampled.token) != request.stop_token_ids.end();
  const bool full = length + 1 >= request.max_tokens;
  on_event(TokenEvent{sequence.id, sampled});
  if (!stop && !full) return !cancelled_.contains(sequence.id);
  const auto reason = stop ? FinishReason::kStop : FinishReason::kLength;
  ended_.emplace_back(sequence.id, FinishedEvent{sequence.id, reason});
  return false;
}

void Engine::remove_ended(const OnEvent& on_event) {
  for (const auto& [id, event] : std::exchange(ended_, {})) {
    if (!scheduler_.remove(id)) continue;
    cancelled_.erase(id);
    on_event(event);
  }
}

void Engine::drop_cancelled(const OnEvent& on_event) {
  for (const RequestId id : std::exchange(cancelled_, {})) {
    if (scheduler_.remove(id)) on_event(FinishedEvent{id, FinishReason::kCancelled});
  }
}

}  // namespace hadal::engine
