#pragma once

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "hadal/core/dtype.h"
#include "hadal/core/test_random.h"
#include "hadal/kernels/test_weight.h"
#include "hadal/ops/attention.h"
#include "hadal/ops/test_context.h"

namespace hadal::ops {

/// Sizes of a small attention. None but kPageSize is a multiple of a vector.
inline constexpr int64_t kHeads = 3, kNope = 5, kRotary = 6, kRank = 20, kValue = 7;
inline constexpr int64_t kWidth = kRank + kRotary, kPageSize = 16;

/// A sequence's inputs of attention: what goes into the cache, and queries for both forms.
struct TestSequence {
  Tensor<float, 2> kv;        // [T, R + P]
  Tensor<float, 3> q;         // [T, H, N + P]
  Tensor<float, 3> q_latent;  // [T, H, R + P]

  TestSequence(TestRandom& random, int64_t length)
      : kv({length, kWidth}), q({length, kHeads, kNope + kRotary}), q_latent({length, kHeads, kWidth}) {
    kv.values() = random.uniform_vector(length * kWidth, -1.0F, 1.0F);
    q.values() = random.uniform_vector(length * kHeads * (kNope + kRotary), -1.0F, 1.0F);
    q_latent.values() = random.uniform_vector(length * kHeads * kWidth, -1.0F, 1.0F);
  }
  int64_t length() const { return kv.shape()[0]; }
};

/// A layer's cache, all NaN until something is written, and who has which page.
class TestCache {
 public:
  TestCache(Format format, int64_t num_pages) : format_(format) {
    data_.assign(static_cast<size_t>(num_pages * kPageSize * layer().row_bytes()), std::byte{0xff});
    free_.resize(static_cast<size_t>(num_pages));
    std::iota(free_.rbegin(), free_.rend(), 0);  // page 0 first
  }
  void shuffle(TestRandom& random) {
    for (size_t i = free_.size(); i > 1; --i) {
      std::swap(free_[i - 1], free_[static_cast<size_t>(random.below(static_cast<int64_t>(i)))]);
    }
  }
  std::vector<int32_t> take_pages(int64_t length) {
    std::vector<int32_t> pages;
    for (int64_t held = 0; held < length; held += kPageSize) {
      pages.push_back(free_.back());
      free_.pop_back();
    }
    return pages;
  }
  LayerCache layer() { return {format_, data_.data(), kRank, kRotary}; }
  /// What a slot holds, as a float.
  float at(int64_t slot, int64_t i) {
    float row[kWidth];
    load_latent(layer(), slot, row);
    return row[i];
  }

 private:
  Format format_;
  std::vector<std::byte> data_;
  std::vector<int32_t> free_;
};

/// Tokens [first, first + count) of a sequence in one step.
struct TestPart {
  const TestSequence* sequence;
  const std::vector<int32_t>* pages;
  int64_t first, count;
};

struct StepOutputs {
  Tensor<float, 3> latent;    // [Td, H, R]
  Tensor<float, 3> expanded;  // [T - Td, H, V]
};

/// The Batch of a step by hand: what the engine's BatchBuilder makes, which this layer cannot see.
struct TestBatch {
  std::vector<int32_t> tokens, positions, slots, seq_start = {0};
  std::vector<std::span<const int32_t>> pages;

  void add(const TestPart& part) {
    for (int64_t position = part.first; position < part.first + part.count; ++position) {
      const int64_t page = (*part.pages)[static_cast<size_t>(position / kPageSize)];
      tokens.push_back(0);
      positions.push_back(static_cast<int32_t>(position));
      slots.push_back(static_cast<int32_t>(page * kPageSize + position % kPageSize));
    }
    seq_start.push_back(static_cast<int32_t>(tokens.size()));
    pages.push_back(*part.pages);
  }
  Batch batch(size_t num_decode_seqs) const {
    return {.tokens = tokens,
            .positions = positions,
            .slots = slots,
            .seq_start = seq_start,
            .pages = pages,
            .logit_rows = {},
            .page_size = kPageSize,
            .num_decode_seqs = static_cast<int64_t>(num_decode_seqs)};
  }
};

/// One step as a layer does it: every token's latent goes into the cache, then both forms of attention read it.
inline StepOutputs attend_step(Context& ctx, TestCache& cache, const Weight& kv_b, double scale,
                               const std::vector<TestPart>& decode, const std::vector<TestPart>& prefill) {
  TestBatch numbers;
  for (const auto* parts : {&decode, &prefill}) {
    for (const TestPart& part : *parts) numbers.add(part);
  }
  const Batch batch = numbers.batch(decode.size());
  const int64_t total = batch.num_tokens(), decoding = batch.num_decode_tokens();
  Tensor<float, 2> kv({total, kWidth});
  Tensor<float, 3> q_latent({decoding, kHeads, kWidth}), q({total - decoding, kHeads, kNope + kRotary});
  int64_t row = 0;
  for (const auto* parts : {&decode, &prefill}) {
    for (const TestPart& part : *parts) {
      copy(part.sequence->kv.view().rows(part.first, part.count), kv.view().rows(row, part.count));
      if (parts == &decode) {
        copy(part.sequence->q_latent.view().rows(part.first, part.count),
             q_latent.view().rows(row, part.count));
      } else {
        copy(part.sequence->q.view().rows(part.first, part.count), q.view().rows(row - decoding, part.count));
      }
      row += part.count;
    }
  }
  append(ctx, cache.layer(), batch.slots, kv.view());
  StepOutputs out{Tensor<float, 3>({decoding, kHeads, kRank}),
                  Tensor<float, 3>({total - decoding, kHeads, kValue})};
  if (!decode.empty()) attend_latent(ctx, q_latent.view(), cache.layer(), batch, scale, out.latent.view());
  if (!prefill.empty())
    attend_expanded(ctx, q.view(), cache.layer(), kv_b, batch, scale, out.expanded.view());
  return out;
}

}  // namespace hadal::ops
