// The routed experts of one layer of V2-Lite on 2,048 tokens: gate, up, SwiGLU and down of 64 experts, 192 rows each.
// items/s are multiply-adds x 2; the threads are all there are.
//   build/release/bench/experts_bench --benchmark_repetitions=5
#include <string>
#include <vector>

#include "bench/random_weights.h"
#include <benchmark/benchmark.h>

#include "hadal/core/arena.h"
#include "hadal/core/thread_pool.h"
#include "hadal/ops/mlp.h"

namespace hadal::ops {
namespace {

constexpr int64_t kTokens = 2048, kHidden = 2048, kWidth = 1408, kExperts = 64, kChosen = 6;

struct Expert {
  Weight gate, up, down;
  std::vector<int32_t> rows;
};

// Weights of all experts lie side by side in the pool, which they share where it is too small for all.
Weight weight(Format format, int64_t n, int64_t k, const std::vector<float>& scales,
              const std::vector<uint8_t>& groups, int64_t& at) {
  Weight w{.name = "w", .format = format, .out_features = n, .in_features = k};
  if (at + w.bytes() > bench::kPool) at = 0;
  w.data = bench::pool_bytes() + at;
  at += w.bytes();
  if (format == Format::kBF16) return w;
  w.scale = scales.data();
  w.block_rows = format == Format::kF8E4M3 ? 128 : 1;
  w.block_cols = format == Format::kF8E4M3 ? 128 : k;
  if (format == Format::kI4) {
    w.group_code = groups.data();
    w.group = 64;
  }
  return w;
}

void experts(benchmark::State& state, Format format) {
  const std::vector<float> scales(size_t{2048} * 64, 0.001F);
  const std::vector<uint8_t> groups(size_t{2048} * 64, uint8_t{0x8c});
  std::vector<Expert> all(kExperts);
  int64_t at = 0;
  for (Expert& e : all) {
    e.gate = weight(format, kWidth, kHidden, scales, groups, at);
    e.up = weight(format, kWidth, kHidden, scales, groups, at);
    e.down = weight(format, kHidden, kWidth, scales, groups, at);
  }
  for (int64_t pair = 0; pair < kTokens * kChosen; ++pair)
    all[static_cast<size_t>(pair % kExperts)].rows.push_back(static_cast<int32_t>(pair / kChosen));

  ThreadPool pool(usable_cpus());
  Arena scratch;
  Context ctx{pool, scratch, {}};
  Tensor<float, 2> x({kTokens, kHidden}), y({kTokens * kChosen, kHidden});
  for (int64_t i = 0; i < kTokens * kHidden; ++i) x.view().data[i] = static_cast<float>(i % 17) * 0.1F - 0.8F;
  std::vector<MlpTask> tasks;
  int64_t first = 0;
  for (const Expert& e : all) {
    const auto count = static_cast<int64_t>(e.rows.size());
    tasks.push_back({&e.gate, &e.up, &e.down, e.rows, y.view().rows(first, count)});
    first += count;
  }
  for (auto _ : state) {
    grouped_mlp(ctx, x.view(), tasks);
    benchmark::DoNotOptimize(y.view().data);
  }
  state.SetItemsProcessed(state.iterations() * kTokens * kChosen * 3 * 2 * kWidth * kHidden);
}

}  // namespace
}  // namespace hadal::ops

int main(int argc, char** argv) {
  using hadal::Format;
  for (const Format format : {Format::kBF16, Format::kF8E4M3, Format::kI8, Format::kI4}) {
    const std::string name = "experts/" + std::string(hadal::to_string(format));
    benchmark::RegisterBenchmark(name.c_str(),
                                 [format](benchmark::State& state) { hadal::ops::experts(state, format); })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
