#include "hadal/engine/teacher_forcing.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "hadal/core/arena.h"
#include "hadal/core/dtype.h"
#include "hadal/core/memory.h"
#include "hadal/engine/engine.h"
#include "hadal/engine/sampler.h"
#include "hadal/model/deepseek.h"
#include "hadal/model/mtp.h"

namespace hadal::engine {
namespace {

constexpr int64_t kPageSize = Engine::kPageSize;

void check_tokens(const model::Model& model, std::span<const int32_t> tokens, const ForcingOptions& options) {
  const auto count = static_cast<int64_t>(tokens.size());
  if (count == 0 || count > model.config.max_position_embeddings) {
    fail(ErrorKind::kRequest, "tokens\n  expected  1 to {} (max_position_embeddings)\n  found     {}",
         model.config.max_position_embeddings, count);
  }
  if (options.mtp && model.weights.mtp.empty()) {
    fail(ErrorKind::kUsage,
         "{}\n  expected  a multi-token-prediction module, for its logits\n  found     none",
         model.checkpoint.folder());
  }
}

// Copies the rows of a chunk into the whole sequence's tensor, which is made at the first chunk.
template <class T>
void append_rows(const Tensor<T, 2>& part, int64_t first, int64_t total, Tensor<T, 2>& whole) {
  if (whole.shape()[0] == 0) whole = Tensor<T, 2>({total, part.shape()[1]});
  copy(part.view(), whole.view().rows(first, part.shape()[0]));
}

// One pass over one sequence, chunk by chunk.
class ForcedRun {
 public:
  ForcedRun(const model::Model& model, ThreadPool& pool, ops::Precision precision,
            std::span<const int32_t> tokens, const ForcingOptions& options)
      : model_(model),
        tokens_(tokens),
        options_(options),
        ctx_{pool, scratch_, precision},
        total_(static_cast<int64_t>(tokens.size())),
        cache_(model.config, (total_ + kPageSize - 1) / kPageSize, kPageSize, precision.cache_format()),
        pages_(static_cast<size_t>(cache_.num_pages())) {
    std::iota(pages_.begin(), pages_.end(), 0);
    const int64_t vocab = model.config.vocab_size;
    if (options.keep_logits) out_.logits = Tensor<float, 2>({total_, vocab});
    if (options.mtp) out_.mtp_logits = Tensor<float, 2>({std::max<int64_t>(total_ - 1, 0), vocab});
  }

  ForcedOutputs run() {
    int64_t step = options_.chunk > 0 ? options_.chunk : total_;
    if (options_.decode) step = 1;
    for (int64_t first = 0; first < total_; first += step) chunk(first, std::min(step, total_ - first));
    if (options_.keep_acts) read_cache();
    return std::move(out_);
  }

 private:
  ops::Batch batch_of(std::span<const int32_t> tokens, int64_t first, int64_t count) {
    builder_.clear();
    builder_.add({.tokens = tokens.subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
                  .first_position = static_cast<int32_t>(first),
                  .pages = pages_,
                  .decode = options_.decode,
                  .all_logits = true});
    return builder_.batch();
  }

  void chunk(int64_t first, int64_t count) {
    const auto frame = scratch_.frame();
    const int64_t layers = model_.config.num_hidden_layers, vocab = model_.config.vocab_size;
    const ops::Batch batch = batch_of(tokens_, first, count);
    const auto x = scratch_.mat<float>(count, model_.config.hidden_size);
    model::Acts acts;
    model::forward(ctx_, model_, batch, cache_.layers(), 0, layers, x, options_.keep_acts ? &acts : nullptr);
    const auto logits =
        options_.keep_logits ? out_.logits.view().rows(first, count) : scratch_.mat<float>(count, vocab);
    model::head(ctx_, model_, batch, x, logits);
    for (int64_t i = 0; i < count && first + i + 1 < total_; ++i) {
      out_.logprobs.push_back(log_probability({logits[i].data, static_cast<size_t>(vocab)},
                                              tokens_[static_cast<size_t>(first + i + 1)]));
    }
    if (options_.keep_acts) keep(acts, x, first);
    if (options_.mtp) mtp_chunk(first, std::min(count, total_ - 1 - first), x);
  }

  void mtp_chunk(int64_t first, int64_t count, Mat<const float> hidden) {
    if (count <= 0) return;
    const auto frame = scratch_.frame();
    const ops::Batch batch = batch_of(tokens_.subspan(1), first, count);
    const auto state = scratch_.mat<float>(count, model_.config.hidden_size);
    const auto cache = cache_.layers()[static_cast<size_t>(model_.config.num_hidden_layers)];
    model::mtp_forward(ctx_, model_, 0, batch, cache, hidden.rows(0, count), state,
                       out_.mtp_logits.view().rows(first, count), nullptr);
  }

  void keep(const model::Acts& acts, Mat<const float> x, int64_t first) {
    append_rows(acts.embedded, first, total_, out_.acts.embedded);
    for (const auto& [layer, part] : acts.hidden) append_rows(part, first, total_, out_.acts.hidden[layer]);
    for (const auto& [layer, part] : acts.expert_ids)
      append_rows(part, first, total_, out_.acts.expert_ids[layer]);
    for (const auto& [layer, part] : acts.expert_weights) {
      append_rows(part, first, total_, out_.acts.expert_weights[layer]);
    }
    if (out_.final_norm.shape()[0] == 0) out_.final_norm = Tensor<float, 2>({total_, x.shape[1]});
    copy(x, out_.final_norm.view().rows(first, x.shape[0]));
  }

  void read_cache() {
    for (int64_t l = 0; l < model_.config.num_hidden_layers; ++l) {
      const ops::LayerCache& cache = cache_.layers()[static_cast<size_t>(l)];
      auto& latents = out_.latents[l] = Tensor<float, 2>({total_, cache.width()});
      for (int64_t t = 0; t < total_; ++t) ops::load_latent(cache, t, latents.view()[t].data);
    }
  }

  const model::Model& model_;
  std::span<const int32_t> tokens_;
  const ForcingOptions& options_;
  Arena scratch_;
  ops::Context ctx_;
  int64_t total_;
  KvCache cache_;
  std::vector<int32_t> pages_;
  BatchBuilder builder_{kPageSize};
  ForcedOutputs out_;
};

}  // namespace

ForcedOutputs run_tokens(const model::Model& model, ThreadPool& pool, ops::Precision precision,
                         std::span<const int32_t> tokens, const ForcingOptions& options) {
  check_tokens(model, tokens, options);
  const auto total = static_cast<int64_t>(tokens.size());
  const int64_t kept = (options.keep_logits ? total : 0) + (options.mtp ? total : 0);
  const std::array needs = {
      MemoryNeed{"logits", kept * model.config.vocab_size * static_cast<int64_t>(sizeof(float))},
      MemoryNeed{"KV cache", KvCache::bytes(model.config, total, precision.cache_format())}};
  check_memory(needs, available_memory_bytes());
  return ForcedRun(model, pool, precision, tokens, options).run();
}

}  // namespace hadal::engine
