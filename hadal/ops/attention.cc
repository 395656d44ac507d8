#include "hadal/ops/attention.h"

#include <algorithm>
#include <limits>

#include "hadal/core/dtype.h"
#include "hadal/kernels/kernel_table.h"
#include "hadal/ops/attention_rows.h"
#include "hadal/ops/attention_tiles.h"
#include "hadal/ops/linear.h"

namespace hadal::ops {
namespace {

using kernels::AttendArgs;
using kernels::kAttendChunk;
using kernels::padded;

constexpr int64_t kQueryTile = 16;  // queries that walk one chunk's keys together

// The running softmax of attention: one entry per query and head (kernels::AttendArgs).
struct Softmax {
  Mat<float> max, sum;  // [rows, H]
  Cube<float> out;      // [rows, H, padded(value width)]
};

Softmax begin_softmax(Context& ctx, int64_t rows, int64_t heads, int64_t value_dim) {
  Softmax state{ctx.scratch.mat<float>(rows, heads), ctx.scratch.mat<float>(rows, heads),
                ctx.scratch.cube<float>(rows, heads, padded(value_dim))};
  std::fill_n(state.max.data, rows * heads, -std::numeric_limits<float>::infinity());
  std::fill_n(state.sum.data, rows * heads, 0.0F);
  std::fill_n(state.out.data, rows * heads * padded(value_dim), 0.0F);
  return state;
}

void finish_softmax(Context& ctx, const Softmax& state, Cube<float> out) {
  parallel_for(ctx.pool, out.shape[0], 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < out.shape[1]; ++h) {
        const float inverse = 1.0F / state.sum[t][h];
        for (int64_t d = 0; d < out.shape[2]; ++d) out[t][h].data[d] = state.out[t][h].data[d] * inverse;
      }
    }
  });
}

// Queries as the kernels read them: rounded like any matrix product's input, padded with zeros.
Cube<float> pack_queries(Context& ctx, Cube<const float> q) {
  const int64_t width = q.shape[2];
  const auto packed = ctx.scratch.cube<float>(q.shape[0], q.shape[1], padded(width));
  parallel_for(ctx.pool, q.shape[0], 4, [&](int64_t begin, int64_t end) {
    const auto pack = ctx.precision.f32 ? kernels::kernels().pack_f32 : kernels::kernels().pack_bf16;
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < q.shape[1]; ++h) pack(q[t][h].data, width, width, packed[t][h].data);
    }
  });
  return packed;
}

void fill_visible(std::span<const int32_t> positions, int64_t first, int64_t count, Vec<int64_t> visible) {
  for (size_t i = 0; i < positions.size(); ++i) {
    visible[static_cast<int64_t>(i)] = visible_keys(positions[i], first, count);
  }
}

// One sequence against one chunk in latent space. Queries are (row, head) pairs, which lie one after the other.
void attend_latent_chunk(Context& ctx, Cube<const float> q, Mat<const float> latents, int64_t count,
                         int64_t rank, double scale, Vec<const int64_t> visible, int64_t first_row,
                         const Softmax& state) {
  const int64_t heads = q.shape[1], queries = visible.shape[0] * heads;
  const auto per_head = ctx.scratch.vec<int64_t>(queries);
  for (int64_t i = 0; i < queries; ++i) per_head[i] = visible[i / heads];
  parallel_for(ctx.pool, queries, kQueryTile, [&](int64_t begin, int64_t end) {
    AttendArgs args;
    args.q = q[first_row].data + begin * q.stride[1];
    args.ldq = q.stride[1];
    args.k = args.v = latents.data;
    args.ldk = args.ldv = latents.stride[0];
    args.visible = &per_head[begin];
    args.num_queries = end - begin;
    args.num_keys = count;
    args.key_dim = latents.shape[1];
    args.value_dim = padded(rank);
    args.scale = static_cast<float>(scale);
    args.round_to_bf16 = !ctx.precision.f32;
    args.max = state.max[first_row].data + begin;
    args.sum = state.sum[first_row].data + begin;
    args.out = state.out[first_row].data + begin * state.out.stride[1];
    args.ldo = state.out.stride[1];
    kernels::kernels().attend(args);
  });
}

// Keys and values of a chunk, per head. Keys are assembled: the head's own part and the rotary part all heads share.
struct ExpandedChunk {
  Cube<float> k;  // [count, H, padded(N + P)]
  Cube<float> v;  // [count, H, V], a window on kv_b's output
};

ExpandedChunk expand_chunk(Context& ctx, Mat<const float> latents, const Weight& kv_b, int64_t heads,
                           int64_t nope, int64_t rotary) {
  const int64_t count = latents.shape[0], rank = kv_b.in_features, width = kv_b.out_features / heads;
  // The kernel reads values in groups of kLanes: the last head's may reach past the row, into this spare one.
  const auto spare = ctx.scratch.mat<float>(count + 1, kv_b.out_features);
  std::fill_n(spare[count].data, spare.shape[1], 0.0F);
  const Mat<float> kv = spare.rows(0, count);
  // As in the absorbed form, the latent is not quantised (V3 demo; golden_test: W8A8).
  linear_unquantised(ctx, latents.slice_last(0, rank), kv_b, kv);
  const auto k = ctx.scratch.cube<float>(count, heads, padded(nope + rotary));
  const bool round = !ctx.precision.f32;
  parallel_for(ctx.pool, count, 8, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      const float* shared = latents[j].data + rank;
      for (int64_t h = 0; h < heads; ++h) {
        float* own = kv[j].data + h * width;
        float* key = k[j][h].data;
        for (int64_t i = 0; i < nope; ++i) key[i] = round ? round_to_bf16(own[i]) : own[i];
        for (int64_t i = 0; i < rotary; ++i) key[nope + i] = round ? round_to_bf16(shared[i]) : shared[i];
        std::fill(key + nope + rotary, key + k.shape[2], 0.0F);
        for (int64_t i = nope; round && i < width; ++i) own[i] = round_to_bf16(own[i]);
      }
    }
  });
  return {k, {kv.data + nope, {count, heads, width - nope}, {kv.stride[0], width, 1}}};
}

// Rows [first_row, + visible.size) of one sequence against one chunk, per head.
void attend_expanded_chunk(Context& ctx, Cube<const float> q, const ExpandedChunk& chunk, double scale,
                           Vec<const int64_t> visible, int64_t first_row, const Softmax& state) {
  const int64_t rows = visible.shape[0], heads = q.shape[1];
  const int64_t tiles = (rows + kQueryTile - 1) / kQueryTile;
  parallel_for(ctx.pool, heads * tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t h = item / tiles, from = item % tiles * kQueryTile;
      const int64_t count = std::min(kQueryTile, rows - from), row = first_row + from;
      AttendArgs args;
      args.q = q[row][h].data;
      args.ldq = q.stride[0];
      args.k = chunk.k.data + h * chunk.k.stride[1];
      args.ldk = chunk.k.stride[0];
      args.v = chunk.v.data + h * chunk.v.stride[1];
      args.ldv = chunk.v.stride[0];
      args.visible = &visible[from];
      args.num_queries = count;
      args.num_keys = chunk.k.shape[0];
      args.key_dim = chunk.k.shape[2];
      args.value_dim = state.out.shape[2];
      args.scale = static_cast<float>(scale);
      args.round_to_bf16 = !ctx.precision.f32;
      float max[kQueryTile],
          sum[kQueryTile];  // the state is [row, head]; the kernel wants one head's rows together
      for (int64_t i = 0; i < count; ++i) {
        max[i] = state.max[row + i][h];
        sum[i] = state.sum[row + i][h];
      }
      args.max = max;
      args.sum = sum;
      args.out = state.out[row][h].data;
      args.ldo = state.out.stride[0];
      kernels::kernels().attend(args);
      for (int64_t i = 0; i < count; ++i) {
        state.max[row + i][h] = max[i];
        state.sum[row + i][h] = sum[i];
      }
    }
  });
}

}  // namespace

void attend_latent(Context& ctx, Cube<const float> q, LayerCache cache, const Batch& batch, double scale,
                   Cube<float> out) {
  HADAL_CHECK(q.shape[2] == cache.width() && q.shape[0] == batch.num_decode_tokens(),
              "attend_latent: q {}, cache {}", to_string(q.shape), cache.width());
  if (latent_suits_tiles(ctx, cache, out.shape[2]))
    return attend_latent_tiles(ctx, q, cache, batch, scale, out);
  const auto frame = ctx.scratch.frame();
  const Cube<float> queries = pack_queries(ctx, q);
  const Softmax state = begin_softmax(ctx, q.shape[0], q.shape[1], out.shape[2]);
  for (int64_t s = 0; s < batch.num_decode_seqs; ++s) {
    const SequenceRows seq = rows_of(batch, s, 0);
    for (int64_t first = 0; first < seq.num_keys(); first += kAttendChunk) {
      const auto chunk_frame = ctx.scratch.frame();
      const int64_t count = std::min(kAttendChunk, seq.num_keys() - first);
      const Mat<float> latents = load_latents(ctx, cache, seq, batch.page_size, first, count);
      const auto visible = ctx.scratch.vec<int64_t>(seq.count);
      fill_visible(seq.positions, first, count, visible);
      attend_latent_chunk(ctx, queries, latents, count, out.shape[2], scale, visible, seq.first_row, state);
    }
  }
  finish_softmax(ctx, state, out);
}

void attend_expanded(Context& ctx, Cube<const float> q, LayerCache cache, const Weight& kv_b,
                     const Batch& batch, double scale, Cube<float> out) {
  const int64_t heads = q.shape[1], rotary = cache.width() - kv_b.in_features, nope = q.shape[2] - rotary;
  HADAL_CHECK(kv_b.out_features == heads * (nope + out.shape[2]),
              "attend_expanded: q {}, {} [{}, {}], out {}", to_string(q.shape), kv_b.name, kv_b.out_features,
              kv_b.in_features, to_string(out.shape));
  if (expanded_suits_tiles(ctx, nope + rotary, out.shape[2]))
    return attend_expanded_tiles(ctx, q, cache, kv_b, batch, scale, out);
  const auto frame = ctx.scratch.frame();
  const Cube<float> queries = pack_queries(ctx, q);
  const Softmax state = begin_softmax(ctx, q.shape[0], heads, out.shape[2]);
  for (int64_t s = batch.num_decode_seqs; s < batch.num_seqs(); ++s) {
    const SequenceRows seq = rows_of(batch, s, batch.num_decode_tokens());
    for (int64_t first = 0; first < seq.num_keys(); first += kAttendChunk) {
      const auto chunk_frame = ctx.scratch.frame();
      const int64_t count = std::min(kAttendChunk, seq.num_keys() - first);
      const Mat<float> latents = load_latents(ctx, cache, seq, batch.page_size, first, count);
      const auto visible = ctx.scratch.vec<int64_t>(seq.count);
      fill_visible(seq.positions, first, count, visible);
      const ExpandedChunk chunk = expand_chunk(ctx, latents, kv_b, heads, nope, rotary);
      attend_expanded_chunk(ctx, queries, chunk, scale, visible, seq.first_row, state);
    }
  }
  finish_softmax(ctx, state, out);
}

}  // namespace hadal::ops
