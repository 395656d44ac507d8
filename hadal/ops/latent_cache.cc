#include "hadal/ops/latent_cache.h"

#include <algorithm>
#include <cstring>

#include "hadal/core/round.h"
#include "hadal/kernels/kernel_table.h"
#include "hadal/ops/attention_rows.h"

namespace hadal::ops {
namespace {

using kernels::index_of;
using kernels::KernelTable;
using kernels::padded;

// Where the parts of an FP8 row begin. Rows are whole vectors of 16 bytes, so that scales and rotary keys of all rows
// lie at multiples of their size; whole cache lines would be 7 % more to read on the released shapes.
struct F8Row {
  int64_t scale, rotary, bytes;
};

F8Row f8_row(const LayerCache& cache) {
  constexpr auto kScaleBytes = static_cast<int64_t>(sizeof(float));
  const int64_t scale = round_up(cache.rank, kScaleBytes), rotary = scale + kScaleBytes;
  return {scale, rotary, round_up(rotary + bytes_per_row(Format::kBF16, cache.rotary), 16)};
}

float scale_of(const F8Row& row, const std::byte* token) {
  float scale = 0.0F;
  std::memcpy(&scale, token + row.scale, sizeof scale);
  return scale;
}

void store_row(const LayerCache& cache, const float* kv, std::byte* to) {
  const KernelTable& kernel = kernels::kernels();
  switch (cache.format) {
    case Format::kF32:
      std::copy_n(kv, cache.width(), reinterpret_cast<float*>(to));
      break;
    case Format::kF8E4M3: {
      const F8Row row = f8_row(cache);
      const float scale = kernel.store_f8(kv, cache.rank, to);
      std::memcpy(to + row.scale, &scale, sizeof scale);
      kernel.store_bf16(kv + cache.rank, cache.rotary, to + row.rotary);
      break;
    }
    default:
      kernel.store_bf16(kv, cache.width(), to);
  }
}

}  // namespace

int64_t LayerCache::row_bytes() const {
  return format == Format::kF8E4M3 ? f8_row(*this).bytes : bytes_per_row(format, width());
}

void append(Context& ctx, LayerCache cache, std::span<const int32_t> slots, Mat<const float> kv) {
  HADAL_CHECK(kv.shape[0] == static_cast<int64_t>(slots.size()) && kv.shape[1] == cache.width(),
              "append: {} to {} slots of a cache {} wide", to_string(kv.shape), slots.size(), cache.width());
  parallel_for(ctx.pool, kv.shape[0], 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      store_row(cache, kv[t].data, cache.token(slots[static_cast<size_t>(t)]));
  });
}

void load_latent(const LayerCache& cache, int64_t slot, float* row) {
  const auto& expand = kernels::kernels().expand;
  const std::byte* token = cache.token(slot);
  if (cache.format != Format::kF8E4M3) return expand[index_of(cache.format)](token, cache.width(), row);
  const F8Row parts = f8_row(cache);
  const float scale = scale_of(parts, token);
  expand[index_of(Format::kF8E4M3)](token, cache.rank, row);
  for (int64_t i = 0; i < cache.rank; ++i) row[i] *= scale;
  expand[index_of(Format::kBF16)](token + parts.rotary, cache.rotary, row + cache.rank);
}

void load_latent_bf16(const LayerCache& cache, int64_t slot, std::byte* row) {
  const std::byte* token = cache.token(slot);
  if (cache.format == Format::kBF16) {
    std::copy_n(token, cache.row_bytes(), row);
    return;
  }
  const F8Row parts = f8_row(cache);
  kernels::kernels().f8_to_bf16(token, cache.rank, scale_of(parts, token), row);
  std::copy_n(token + parts.rotary, 2 * cache.rotary, row + 2 * cache.rank);
}

Mat<float> load_latents(Context& ctx, const LayerCache& cache, const SequenceRows& seq, int64_t page_size,
                        int64_t first, int64_t count) {
  const auto latents = ctx.scratch.mat<float>(count, padded(cache.width()));
  parallel_for(ctx.pool, count, 64, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      float* row = latents[j].data;
      load_latent(cache, seq.slot(first + j, page_size), row);
      std::fill(row + cache.width(), row + latents.shape[1], 0.0F);
    }
  });
  return latents;
}

}  // namespace hadal::ops
