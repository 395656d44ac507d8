// One layer's attention on V2-Lite's and V3's heads, all threads, through the ops that the model calls.
//   decode    one token after so many, absorbed: what W^UK and W^UV cost is in projections/1
//   absorbed, expanded, projections
//             a step of 512 tokens of a prompt after so many earlier ones: attention in either form, and what the absorbed
//             form needs around it (W^UK into the query, W^UV onto the output). The expanded form's products with kv_b, the
//             earlier tokens' again in each step, are in its own time.
// A step's time grows linearly with the tokens before it, so a prompt of P tokens costs P / 512 times the mean of its first
// and its last step. Decoding walks through as many layers' caches as fill 256 MiB, as a whole model does.
//   build/release/bench/attention_bench --benchmark_filter=decode
#include <bit>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "hadal/core/buffer.h"
#include "hadal/core/dtype.h"
#include "hadal/core/rng.h"
#include "hadal/ops/attention.h"
#include "hadal/ops/linear.h"

namespace hadal::ops {
namespace {

struct Shape {
  const char* name;
  int64_t heads;
};
constexpr Shape kShapes[] = {{"v2_lite", 16}, {"v3", 128}};
constexpr int64_t kNope = 128, kRotary = 64, kValue = 128, kRank = 512, kPageSize = 64, kStep = 512;
constexpr double kScale = 0.07;

ThreadPool& pool() {
  static ThreadPool threads(usable_cpus());
  return threads;
}

// 1/2 <= |x| < 2, either sign.
float number(uint64_t i) {
  return std::bit_cast<float>(static_cast<uint32_t>((mix64(i) & 0x80ffU) | 0x3f00U) << 16);
}

void fill(Cube<float> x) {
  for (int64_t i = 0; i < x.shape[0] * x.shape[1] * x.shape[2]; ++i)
    x.data[i] = number(static_cast<uint64_t>(i));
}

// Sequences of `length` tokens whose last `count` are computed; the caches of some layers hold them all.
class Setup {
 public:
  Setup(const Shape& shape, Format format, int64_t length, int64_t count, int64_t cache_bytes)
      : heads_(shape.heads), kv_b_bytes_(heads_ * (kNope + kValue) * kRank * 2) {
    const LayerCache layout{.format = format, .rank = kRank, .rotary = kRotary};
    const int64_t num_pages = (length + kPageSize - 1) / kPageSize,
                  layer_bytes = num_pages * kPageSize * layout.row_bytes();
    memory_ = Buffer(std::max(cache_bytes, layer_bytes));
    for (int64_t at = 0; at + layer_bytes <= memory_.size(); at += layer_bytes) {
      layers_.push_back(layout);
      layers_.back().data = memory_.data() + at;
    }
    pages_.resize(static_cast<size_t>(num_pages));
    std::iota(pages_.begin(), pages_.end(), 0);
    page_spans_ = {pages_};
    positions_.resize(static_cast<size_t>(count));
    std::iota(positions_.begin(), positions_.end(), static_cast<int32_t>(length - count));
    seq_start_ = {0, static_cast<int32_t>(count)};
    fill_caches(num_pages * kPageSize);
    for (int64_t i = 0; i < kv_b_bytes_ / 2; ++i) {
      const bf16 code = to_bf16(number(static_cast<uint64_t>(i)) / 32);
      std::memcpy(kv_b_.data() + 2 * i, &code, sizeof code);
    }
  }

  Batch batch(bool decode) const {
    return {.tokens = positions_,
            .positions = positions_,
            .slots = positions_,
            .seq_start = seq_start_,
            .pages = page_spans_,
            .logit_rows = {},
            .page_size = kPageSize,
            .num_decode_seqs = decode ? 1 : 0};
  }
  const LayerCache& next_layer() { return layers_[next_++ % layers_.size()]; }
  Weight kv_b() const {
    return {.name = "kv_b",
            .format = Format::kBF16,
            .out_features = heads_ * (kNope + kValue),
            .in_features = kRank,
            .data = kv_b_.data()};
  }
  Context context() { return {pool(), scratch_, {}}; }
  Cube<float> numbers(int64_t rows, int64_t width) {
    const auto x = scratch_.cube<float>(rows, heads_, width);
    fill(x);
    return x;
  }

 private:
  void fill_caches(int64_t slots) {
    Context ctx = context();
    const auto frame = scratch_.frame();
    std::vector<int32_t> rows(static_cast<size_t>(slots));
    std::iota(rows.begin(), rows.end(), 0);
    const auto kv = scratch_.mat<float>(slots, kRank + kRotary);
    for (int64_t i = 0; i < slots * kv.shape[1]; ++i) kv.data[i] = number(static_cast<uint64_t>(i));
    for (const LayerCache& layer : layers_) append(ctx, layer, rows, kv);
  }

  int64_t heads_, kv_b_bytes_;
  Arena scratch_;
  Buffer memory_, kv_b_{kv_b_bytes_};
  std::vector<LayerCache> layers_;
  std::vector<int32_t> pages_, positions_, seq_start_;
  std::vector<std::span<const int32_t>> page_spans_;
  size_t next_ = 0;
};

void latent(benchmark::State& state, const Shape& shape, Format format, int64_t length, int64_t count,
            int64_t cache_bytes) {
  Setup setup(shape, format, length, count, cache_bytes);
  Context ctx = setup.context();
  const auto q = setup.numbers(count, kRank + kRotary), out = setup.numbers(count, kRank);
  const Batch batch = setup.batch(/*decode=*/true);
  for (auto _ : state) attend_latent(ctx, q, setup.next_layer(), batch, kScale, out);
}

void decode(benchmark::State& state, const Shape& shape, Format format) {
  latent(state, shape, format, state.range(0), 1, int64_t{256} << 20);
}

void absorbed(benchmark::State& state, const Shape& shape, Format format) {
  latent(state, shape, format, state.range(0) + kStep, kStep, 0);
}

void expanded(benchmark::State& state, const Shape& shape, Format format) {
  Setup setup(shape, format, state.range(0) + kStep, kStep, 0);
  Context ctx = setup.context();
  const auto q = setup.numbers(kStep, kNope + kRotary), out = setup.numbers(kStep, kValue);
  const Batch batch = setup.batch(/*decode=*/false);
  const Weight kv_b = setup.kv_b();
  for (auto _ : state) attend_expanded(ctx, q, setup.next_layer(), kv_b, batch, kScale, out);
}

void projections(benchmark::State& state, const Shape& shape) {
  const int64_t rows = state.range(0);
  Setup setup(shape, Format::kBF16, rows, rows, 0);
  Context ctx = setup.context();
  const auto q = setup.numbers(rows, kNope), q_latent = setup.numbers(rows, kRank + kRotary),
             o_latent = setup.numbers(rows, kRank), o = setup.numbers(rows, kValue);
  const Weight kv_b = setup.kv_b();
  for (auto _ : state) {
    head_linear_transposed(ctx, q, kv_b, kNope + kValue, q_latent.slice_last(0, kRank));
    head_linear(ctx, o_latent, kv_b, kNope + kValue, kNope, o);
  }
}

template <class Function>
benchmark::internal::Benchmark* add(const std::string& name, const Function& function) {
  return benchmark::RegisterBenchmark(name.c_str(), function)->UseRealTime()->Unit(benchmark::kMicrosecond);
}

void register_all() {
  for (const Shape& shape : kShapes) {
    const std::string of = std::string("/") + shape.name;
    for (const Format format : {Format::kBF16, Format::kF8E4M3}) {
      const std::string with = of + "/" + std::string(to_string(format));
      add("decode" + with, [=](benchmark::State& state) {
        decode(state, shape, format);
      })->ArgsProduct({{512, 4096, 8192}});
      const std::vector<int64_t> starts{0, 1536, 7680, 32256};
      add("absorbed" + with, [=](benchmark::State& state) {
        absorbed(state, shape, format);
      })->ArgsProduct({starts});
      add("expanded" + with, [=](benchmark::State& state) {
        expanded(state, shape, format);
      })->ArgsProduct({starts});
    }
    add("projections" + of, [=](benchmark::State& state) {
      projections(state, shape);
    })->ArgsProduct({{1, kStep}});
  }
}

}  // namespace
}  // namespace hadal::ops

int main(int argc, char** argv) {
  hadal::ops::register_all();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
