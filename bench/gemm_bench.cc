// The matrix product of every kernel row on V2-Lite's and V3's shapes, one thread. items/s are multiply-adds x 2, bytes/s
// the weights' own bytes: what a decode step has to stream.
//   build/release/bench/gemm_bench --benchmark_repetitions=5
#include <cstring>
#include <random>
#include <vector>

#include "bench/random_weights.h"
#include <benchmark/benchmark.h>

#include "hadal/core/dtype.h"
#include "hadal/kernels/kernel_table.h"
#include "hadal/kernels/pack.h"

namespace hadal::kernels {
namespace {

using bench::kShapes;
using bench::Shape;

// Gaussian, as weights are: denormal or huge numbers would time the processor's exceptions.
std::vector<std::byte> random_weights(Format format, int64_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0F, format == Format::kF8E4M3 ? 100.0F : 0.02F);
  std::vector<std::byte> weights(static_cast<size_t>(count * bytes_per_element(format)));
  for (int64_t i = 0; i < count; ++i) {
    if (format == Format::kF8E4M3) {
      weights[static_cast<size_t>(i)] = static_cast<std::byte>(to_f8e4m3(normal(random)).bits);
    } else {
      const bf16 value = to_bf16(normal(random));
      std::memcpy(&weights[static_cast<size_t>(2 * i)], &value, sizeof value);
    }
  }
  return weights;
}

void gemm(benchmark::State& state, const KernelTable& table, Format format, Shape shape) {
  const int64_t m = state.range(0), block = format == Format::kF8E4M3 ? 128 : kPlainBlock;
  const std::vector<std::byte> weights = random_weights(format, shape.n * shape.k);
  std::vector<float> packed(static_cast<size_t>(m * packed_width(shape.k, block)), 0.5F);
  std::vector<float> scales(static_cast<size_t>(num_blocks(shape.n, 128) * num_blocks(shape.k, 128)), 0.01F);
  std::vector<float> out(static_cast<size_t>(m * shape.n));
  GemmArgs args;
  args.a = packed.data();
  args.lda = packed_width(shape.k, block);
  args.w = weights.data();
  if (format == Format::kF8E4M3) {
    args.w_scale = scales.data();
    args.w_scale_stride = num_blocks(shape.k, 128);
    args.block_rows = 128;
  }
  args.block = block;
  args.c = out.data();
  args.ldc = shape.n;
  args.m = m;
  args.n = shape.n;
  args.k = shape.k;
  for (auto _ : state) {
    table.gemm[index_of(format)](args);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * 2 * m * shape.n * shape.k);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(weights.size()));
}

}  // namespace

void register_all() {
  for (const KernelTable* table : runnable_tables()) {
    for (const Format format : {Format::kBF16, Format::kF8E4M3}) {
      for (const Shape& shape : kShapes) {
        const std::string name =
            std::string(table->isa) + "/" + std::string(to_string(format)) + "/" + shape.name;
        benchmark::RegisterBenchmark(
            name.c_str(),
            [table, format, shape](benchmark::State& state) { gemm(state, *table, format, shape); })
            ->Arg(1)
            ->Arg(16)
            ->Arg(64);
      }
    }
  }
}

}  // namespace hadal::kernels

int main(int argc, char** argv) {
  hadal::kernels::register_all();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
