#include "hadal/ops/latent_cache.h"

#include <numeric>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "hadal/core/test_random.h"
#include "hadal/kernels/test_weight.h"
#include "hadal/ops/attention.h"
#include "hadal/ops/test_context.h"

namespace hadal::ops {
namespace {

// Widths that a matrix unit takes; a sequence of two chunks whose last tokens are computed.
constexpr int64_t kHeads = 3, kNope = 32, kRotary = 32, kRank = 64, kValue = 32, kLength = 530, kRows = 20;

TEST(LayerCache, RowsAreAsLongAsTheirParts) {
  const auto bytes = [](Format format, int64_t rank, int64_t rotary) {
    return LayerCache{.format = format, .rank = rank, .rotary = rotary}.row_bytes();
  };
  EXPECT_EQ(bytes(Format::kF32, 512, 64), 576 * 4);
  EXPECT_EQ(bytes(Format::kBF16, 512, 64), 576 * 2);
  EXPECT_EQ(bytes(Format::kF8E4M3, 512, 64), 656);
  EXPECT_EQ(bytes(Format::kF8E4M3, 5, 3), 32);  // 5 and 3 to align, 4, 6, and 14 to align
}

class OneSequence {
 public:
  explicit OneSequence(int64_t page_size)
      : page_size_(page_size), pages_(static_cast<size_t>(kLength / page_size + 1)) {
    std::iota(pages_.rbegin(), pages_.rend(), 0);
    page_spans_ = {pages_};
    for (int64_t i = 0; i < kLength; ++i) {
      slots.push_back(
          static_cast<int32_t>(pages_[static_cast<size_t>(i / page_size)] * page_size + i % page_size));
      if (i >= kLength - kRows) positions_.push_back(static_cast<int32_t>(i));
    }
  }
  LayerCache cache(Format format) {
    LayerCache cache{.format = format, .rank = kRank, .rotary = kRotary};
    memory_.emplace_back(static_cast<size_t>(std::ssize(pages_) * page_size_ * cache.row_bytes()));
    cache.data = memory_.back().data();
    return cache;
  }
  Batch batch(bool decode) const {
    return {.tokens = positions_,
            .positions = positions_,
            .slots = std::span(slots).last(kRows),
            .seq_start = seq_start_,
            .pages = page_spans_,
            .logit_rows = {},
            .page_size = page_size_,
            .num_decode_seqs = decode ? 1 : 0};
  }

  std::vector<int32_t> slots;

 private:
  int64_t page_size_;
  std::vector<int32_t> pages_, positions_, seq_start_{0, kRows};
  std::vector<std::span<const int32_t>> page_spans_;
  std::vector<std::vector<std::byte>> memory_;
};

// Attention does not know how its numbers were kept: an FP8 cache and a BF16 one with the same numbers give the same bits.
// Pages of 16 are read where they lie if they are BF16, pages of 24 are not.
TEST(LayerCache, AnFp8CacheIsABf16CacheOfTheSameNumbers) {
  TestRandom random(1);
  Tensor<float, 2> kv({kLength, kRank + kRotary});
  kv.values() = random.uniform_vector(kLength * (kRank + kRotary), -3.0F, 3.0F);
  Tensor<float, 3> q({kRows, kHeads, kNope + kRotary}), q_latent({kRows, kHeads, kRank + kRotary});
  q.values() = random.uniform_vector(kRows * kHeads * (kNope + kRotary), -1.0F, 1.0F);
  q_latent.values() = random.uniform_vector(kRows * kHeads * (kRank + kRotary), -1.0F, 1.0F);
  const kernels::TestWeight kv_b(random, Format::kBF16, kHeads * (kNope + kValue), kRank);
  for (const Precision& precision : {kBFloat16, kFloat32}) {
    for (const int64_t page_size : {16, 24}) {
      TestContext ctx(precision, 2);
      OneSequence sequence(page_size);
      const LayerCache f8 = sequence.cache(Format::kF8E4M3), bf16 = sequence.cache(Format::kBF16);
      append(ctx, f8, sequence.slots, kv.view());
      Tensor<float, 2> numbers(kv.shape());
      for (int64_t t = 0; t < kLength; ++t)
        load_latent(f8, sequence.slots[static_cast<size_t>(t)], numbers.view()[t].data);
      EXPECT_NE(numbers.values(), kv.values());
      append(ctx, bf16, sequence.slots, numbers.view());
      const auto latent = [&](const LayerCache& cache) {
        Tensor<float, 3> out({kRows, kHeads, kRank});
        attend_latent(ctx, q_latent.view(), cache, sequence.batch(true), 0.2, out.view());
        return out.values();
      };
      const auto expanded = [&](const LayerCache& cache) {
        Tensor<float, 3> out({kRows, kHeads, kValue});
        attend_expanded(ctx, q.view(), cache, kv_b.weight(), sequence.batch(false), 0.2, out.view());
        return out.values();
      };
      EXPECT_EQ(latent(f8), latent(bf16)) << page_size;
      EXPECT_EQ(expanded(f8), expanded(bf16)) << page_size;
    }
  }
}

}  // namespace
}  // namespace hadal::ops
