#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "hadal/core/view.h"
#include "hadal/core/weight.h"
#include "hadal/ops/context.h"

namespace hadal::ops {

struct SequenceRows;

/// A layer's latent cache: [pages, page_size] rows, each a token's normed latent and its rotated key. A view.
///   kF32, kBF16  rank + rotary numbers
///   kF8E4M3      rank codes, a float's power of two that they are multiplied with, rotary numbers in BF16
struct LayerCache {
  Format format = Format::kBF16;
  std::byte* data = nullptr;
  int64_t rank = 0, rotary = 0;  // kv_lora_rank, qk_rope_head_dim

  int64_t width() const { return rank + rotary; }
  int64_t row_bytes() const;
  std::byte* token(int64_t slot) const { return data + slot * row_bytes(); }
};

/// Writes latents (kv: [T, rank + rotary], normed latent | rotated key) to their slots ([T]), rounded once.
void append(Context& ctx, LayerCache cache, std::span<const int32_t> slots, Mat<const float> kv);

/// One token's numbers as the cache has them, exactly: [width] floats.
void load_latent(const LayerCache& cache, int64_t slot, float* row);

/// The same as BF16, exactly; for kBF16 and kF8E4M3.
void load_latent_bf16(const LayerCache& cache, int64_t slot, std::byte* row);

/// The latents of positions [first, first + count) of a sequence, rows padded with zeros: [count, padded(width)], in the
/// context's scratch memory.
Mat<float> load_latents(Context& ctx, const LayerCache& cache, const SequenceRows& seq, int64_t page_size,
                        int64_t first, int64_t count);

}  // namespace hadal::ops
