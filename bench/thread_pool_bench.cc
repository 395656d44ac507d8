// What a parallel loop costs beside its work: handing it out and waiting for all threads.
//
//     build/release/bench/thread_pool_bench
//
// hot: loops follow one another, as in a forward pass; cold: the threads have gone to sleep in between. The argument is the
// number of threads; with more than there are processors to run on, the figures are the scheduler's.
#include <chrono>
#include <thread>

#include <benchmark/benchmark.h>

#include "hadal/core/thread_pool.h"

namespace {

using hadal::ThreadPool;
using Clock = std::chrono::steady_clock;

// One empty piece for each thread.
void dispatch(ThreadPool& pool) {
  pool.run(pool.num_threads(), 1, [](int64_t begin, int64_t) { benchmark::DoNotOptimize(begin); });
}

hadal::ThreadPlan plan_for(const benchmark::State& state, bool pinned) {
  const auto threads = static_cast<int>(state.range(0));
  return pinned ? hadal::plan_threads({.threads = threads}) : hadal::unpinned_threads(threads);
}

void hot(benchmark::State& state, bool pinned) {
  ThreadPool pool(plan_for(state, pinned));
  for (auto _ : state) dispatch(pool);
}

void cold(benchmark::State& state, bool pinned) {
  ThreadPool pool(plan_for(state, pinned));
  for (auto _ : state) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const auto begin = Clock::now();
    dispatch(pool);
    state.SetIterationTime(std::chrono::duration<double>(Clock::now() - begin).count());
  }
}

void threads(benchmark::internal::Benchmark* bench) {
  for (int n = 1; n < hadal::usable_cpus(); n *= 2) bench->Arg(n);
  bench->Arg(hadal::usable_cpus())->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(hot, pinned, true)->Apply(threads)->UseRealTime();
BENCHMARK_CAPTURE(hot, unpinned, false)->Apply(threads)->UseRealTime();
BENCHMARK_CAPTURE(cold, pinned, true)->Apply(threads)->UseManualTime()->Iterations(500);
BENCHMARK_CAPTURE(cold, unpinned, false)->Apply(threads)->UseManualTime()->Iterations(500);

}  // namespace

BENCHMARK_MAIN();
