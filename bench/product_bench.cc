// Products of packed activations in every kernel row, one thread, on V2-Lite's and V3's shapes. items/s are multiply-adds
// x 2, bytes/s the weights' own bytes. The weights are as many matrices as fill 512 MiB, used in turn: with one row of
// activations this is what decoding streams from memory.
//   build/release/bench/product_bench --benchmark_repetitions=5
#include <string>
#include <vector>

#include "bench/random_weights.h"
#include <benchmark/benchmark.h>

#include "hadal/core/arena.h"
#include "hadal/kernels/kernel_table.h"

namespace hadal::kernels {
namespace {

using bench::kPool;
using bench::kShapes;
using bench::pool_bytes;
using bench::Shape;

void product(benchmark::State& state, const Product& product, Format format, Shape shape, bool integers) {
  const int64_t m = state.range(0), k = shape.k;
  const bool f8 = format == Format::kF8E4M3;
  const std::vector<float> x(static_cast<size_t>(m * k), 0.5F);
  const std::vector<float> scales(static_cast<size_t>(shape.n * 64), 0.01F);
  const std::vector<uint8_t> groups(static_cast<size_t>(shape.n * (k / 64)), uint8_t{0x8c});
  Arena scratch;  // aligned as it is in a forward pass
  std::byte* const packed = scratch.vec<std::byte>(packed_rows(m) * product.row_bytes(k)).data;
  std::vector<float> a_scale(static_cast<size_t>(m)), out(static_cast<size_t>(m * shape.n));
  std::vector<int32_t> a_sum(static_cast<size_t>(m));
  for (int64_t i = 0; i < m; i += kPanelRows) {
    product.pack({.x = x.data() + i * k,
                  .ldx = k,
                  .m = std::min(kPanelRows, m - i),
                  .total_m = m,
                  .k = k,
                  .format = format,
                  .packed = packed + i * product.row_bytes(k),
                  .scale = a_scale.data() + i,
                  .sum = a_sum.data() + i});
  }
  Weight w{.name = "w", .format = format, .out_features = shape.n, .in_features = k, .data = pool_bytes()};
  if (format != Format::kBF16) {
    w.scale = scales.data();
    w.block_rows = f8 ? 128 : 1;
    w.block_cols = f8 ? 128 : k;
  }
  if (format == Format::kI4) {
    w.group_code = groups.data();
    w.group = 64;
  }
  const int64_t matrices = kPool / w.bytes();
  int64_t at = 0;
  for (auto _ : state) {
    w.data = pool_bytes() + at++ % matrices * w.bytes();
    product.gemm({.a = packed,
                  .a_scale = integers ? a_scale.data() : nullptr,
                  .a_sum = integers ? a_sum.data() : nullptr,
                  .w = w,
                  .first_n = 0,
                  .c = out.data(),
                  .ldc = shape.n,
                  .m = m,
                  .n = shape.n});
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * 2 * m * shape.n * k);
  state.SetBytesProcessed(state.iterations() * w.bytes());
}

}  // namespace

void register_all() {
  for (const KernelTable* table : runnable_tables()) {
    for (const bool integers : {false, true}) {
      for (int f = 0; f < kNumFormats; ++f) {
        const auto format = static_cast<Format>(f);
        const Product& entry = (integers ? table->i8 : table->bf16)[f];
        if (!entry) continue;
        for (const Shape& shape : kShapes) {
          const std::string name = std::string(table->isa) + (integers ? "/i8x" : "/bf16x") +
                                   std::string(to_string(format)) + "/" + shape.name;
          benchmark::RegisterBenchmark(name.c_str(), [&entry, format, shape,
                                                      integers](benchmark::State& state) {
            product(state, entry, format, shape, integers);
          })->ArgsProduct({{1, 2, 4, 8, 16, 32, 48, 64, 256}});
        }
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
