#include "hadal/engine/bench.h"

#include <algorithm>
#include <bit>

#include "hadal/core/memory.h"
#include "hadal/core/rng.h"
#include "hadal/engine/engine.h"
#include "hadal/engine/sampler.h"
#include "hadal/model/deepseek.h"

namespace hadal::engine {
namespace {

using Clock = PhaseRecorder::Clock;

KvCache make_cache(const model::ModelConfig& config, int64_t tokens, Format format) {
  const MemoryNeed need{"KV cache", KvCache::bytes(config, tokens, format)};
  check_memory({&need, 1}, available_memory_bytes());
  return {config, tokens / Engine::kPageSize, Engine::kPageSize, format};
}

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

Bench::Bench(const model::Model& model, ThreadPool& pool, ops::Precision precision, int64_t cache_tokens,
             const MachineLimits& limits)
    : model_(model),
      limits_(limits),
      cost_(model.config, model.weights, precision.cache_format()),
      ctx_{pool, scratch_, precision},
      cache_(make_cache(model.config, paged(cache_tokens), precision.cache_format())) {
  fill_cache();
}

int64_t Bench::paged(int64_t tokens) {
  return (tokens + Engine::kPageSize - 1) / Engine::kPageSize * Engine::kPageSize;
}

void Bench::fill_cache() {
  uint64_t layer = 0;
  for (const ops::LayerCache& cache : cache_.layers()) fill_layer(cache, mix64(++layer));
}

// Numbers as a norm leaves them: 1/2 <= |x| < 2, either sign.
void Bench::fill_layer(const ops::LayerCache& cache, uint64_t key) {
  constexpr int64_t kTokens = 4096;  // at a time: some megabytes
  const int64_t slots = cache_.num_pages() * cache_.page_size();
  const auto frame = scratch_.frame();
  const auto numbers = scratch_.mat<float>(std::min(kTokens, slots), cache.width());
  std::vector<int32_t> rows(static_cast<size_t>(slots));
  std::iota(rows.begin(), rows.end(), 0);
  for (int64_t first = 0; first < slots; first += kTokens) {
    const int64_t count = std::min(kTokens, slots - first);
    parallel_for(ctx_.pool, count, Engine::kPageSize, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * cache.width(); i < end * cache.width(); ++i) {
        const uint64_t bits = mix64(key + static_cast<uint64_t>(first * cache.width() + i));
        numbers.data[i] = std::bit_cast<float>(static_cast<uint32_t>((bits & 0x80ffU) | 0x3f00U) << 16);
      }
    });
    ops::append(ctx_, cache, std::span(rows).subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
                numbers.rows(0, count));
  }
}

std::vector<int32_t> Bench::random_tokens(int64_t count) const {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>(mix64(i + 1) % static_cast<uint64_t>(model_.config.vocab_size));
  return tokens;
}

std::vector<int32_t> Bench::pages_of(int64_t sequence, int64_t tokens) const {
  std::vector<int32_t> pages(static_cast<size_t>(paged(tokens) / cache_.page_size()));
  std::iota(pages.begin(), pages.end(), static_cast<int32_t>(sequence * std::ssize(pages)));
  HADAL_CHECK(pages.empty() || pages.back() < cache_.num_pages(), "page {} of {}", pages.back(),
              cache_.num_pages());
  return pages;
}

// As Engine::step: forward, head, and the most probable token for each row of logits.
void Bench::step(const BatchBuilder& builder, std::span<int32_t> next) {
  const ops::Batch batch = builder.batch();
  const auto frame = scratch_.frame();
  const auto x = scratch_.mat<float>(batch.num_tokens(), model_.config.hidden_size);
  const auto rows = static_cast<int64_t>(batch.logit_rows.size());
  const auto logits = scratch_.mat<float>(rows, model_.config.vocab_size);
  model::forward(ctx_, model_, batch, cache_.layers(), 0, model_.config.num_hidden_layers, x, nullptr);
  if (rows == 0) return;
  model::head(ctx_, model_, batch, x, logits);
  Sampling greedy;
  greedy.temperature = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const std::span<float> row(logits[i].data, static_cast<size_t>(logits.shape[1]));
    next[static_cast<size_t>(i)] = sample(row, greedy, {}).token;
  }
}

void Bench::count(const model::StepWork& work, Timing& timing) const {
  for (size_t i = 0; i < kNumPhases; ++i) timing.work[i] += work[i];
  timing.least_seconds += model::least_seconds(work, limits_);
}

void Bench::finish(PhaseRecorder& recorder, Clock::time_point begin, Timing& timing) const {
  timing.seconds = seconds_between(begin, Clock::now());
  timing.phases = recorder.seconds();
  timing.events = recorder.events();
}

Timing Bench::prefill(int64_t prompt, bool keep_events) {
  const std::vector<int32_t> tokens = random_tokens(prompt), pages = pages_of(0, prompt);
  BatchBuilder batch(cache_.page_size());
  int32_t next = 0;
  Timing timing;
  timing.tokens = prompt;
  PhaseRecorder recorder(keep_events);
  const auto begin = Clock::now();
  for (int64_t first = 0; first < prompt; first += kTokensPerStep) {
    const int64_t count_now = std::min(kTokensPerStep, prompt - first);
    const bool last = first + count_now == prompt;
    batch.clear();
    batch.add(
        {.tokens = std::span(tokens).subspan(static_cast<size_t>(first), static_cast<size_t>(count_now)),
         .first_position = static_cast<int32_t>(first),
         .pages = pages,
         .wants_logits = last});
    step(batch, {&next, 1});
    count(cost_.prefill(first, count_now, last), timing);
  }
  finish(recorder, begin, timing);
  return timing;
}

Timing Bench::decode(int64_t batch_size, int64_t depth, int64_t gen, double most_seconds, bool keep_events) {
  std::vector<int32_t> last = random_tokens(batch_size);
  std::vector<std::vector<int32_t>> pages;
  for (int64_t s = 0; s < batch_size; ++s) pages.push_back(pages_of(s, depth + gen));
  BatchBuilder batch(cache_.page_size());
  Timing timing;
  PhaseRecorder recorder(keep_events);
  const auto begin = Clock::now();
  for (int64_t i = 0; i < gen; ++i) {
    batch.clear();
    for (size_t s = 0; s < last.size(); ++s) {
      batch.add({.tokens = {&last[s], 1},
                 .first_position = static_cast<int32_t>(depth + i),
                 .pages = pages[s],
                 .decode = true});
    }
    step(batch, last);
    count(cost_.decode(batch_size, depth + i + 1), timing);
    timing.tokens += batch_size;
    if (seconds_between(begin, Clock::now()) > most_seconds) break;
  }
  finish(recorder, begin, timing);
  return timing;
}

}  // namespace hadal::engine
