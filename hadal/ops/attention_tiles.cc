#include "hadal/ops/attention_tiles.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "hadal/core/buffer.h"
#include "hadal/core/round.h"
#include "hadal/kernels/kernel_table.h"
#include "hadal/ops/attention_rows.h"
#include "hadal/ops/linear.h"

namespace hadal::ops {
namespace {

using kernels::kAttendChunk;
using kernels::KernelTable;
using kernels::kPanelRows;
using kernels::TileAttendArgs;

constexpr int64_t kTileKeys = 16, kPairKeys = 32;  // keys in a tile of scores; values in a tile of pairs
constexpr int64_t kKeysAhead = 32;                 // keys that are on their way from memory

const kernels::Product& query_product() {
  return kernels::kernels().bf16[kernels::index_of(Format::kBF16)];
}

// A lane is one query: rows of `width` floats, `stride` apart, packed by panels of 16.
void pack_lanes(const float* q, int64_t stride, int64_t lanes, int64_t width, std::byte* packed) {
  for (int64_t lane = 0; lane < lanes; lane += kPanelRows) {
    kernels::PackArgs args;
    args.x = q + lane * stride;
    args.ldx = stride;
    args.m = std::min(kPanelRows, lanes - lane);
    args.total_m = args.m;  // each sixteen are a product of their own, as narrow as they are
    args.k = width;
    args.packed = packed + lane * query_product().row_bytes(width);
    query_product().pack(args);
  }
}

// ---- the absorbed form: lanes are the (row, head) pairs of a sequence, keys and values are the cached latents

// One chunk of one sequence, and the softmax of its lanes over that chunk alone.
struct Piece {
  SequenceRows seq;
  int64_t first_key = 0, count = 0, lanes = 0;
  std::byte* q = nullptr;                                // the sequence's lanes, packed by 16
  float *max = nullptr, *sum = nullptr, *out = nullptr;  // [lanes], [lanes], [lanes, rank]
};

// Where the chunk's keys lie by tiles of 16, and its values with each two interleaved. The memory is a thread's own; a tile's
// line must not straddle two of the cache's.
struct ChunkKeys {
  const std::byte* tiles[kAttendChunk / kTileKeys];
  Buffer gathered, pairs;
};

void reserve(Buffer& buffer, int64_t bytes) {
  if (buffer.size() < bytes) buffer = Buffer(bytes);
}

// Keys [first, first + 16) as BF16: where they lie in the cache if they lie there side by side, else brought together.
const std::byte* open_tile(const LayerCache& cache, const Piece& piece, int64_t page_size, int64_t first,
                           ChunkKeys& keys) {
  const auto slot = [&](int64_t j) { return piece.seq.slot(piece.first_key + j, page_size); };
  if (cache.format == Format::kBF16 && page_size % kTileKeys == 0) return cache.token(slot(first));
  const int64_t row_bytes = 2 * cache.width();
  reserve(keys.gathered, kAttendChunk * row_bytes);
  std::byte* const to = keys.gathered.data() + first * row_bytes;
  for (int64_t j = first; j < std::min(first + kTileKeys, piece.count); ++j)
    load_latent_bf16(cache, slot(j), to + (j - first) * row_bytes);
  return to;
}

// Asks for the rows of two keys: memory is far, and a page of the cache ends where the processor's own guess does.
void prefetch_pair(const LayerCache& cache, const Piece& piece, int64_t page_size, int64_t j) {
  constexpr int64_t kLine = 64;
  const int64_t row_bytes = cache.row_bytes();
  for (int64_t i = j; i < std::min(j + 2, piece.count); ++i) {
    const std::byte* row = cache.token(piece.seq.slot(piece.first_key + i, page_size));
    for (int64_t b = 0; b < row_bytes; b += kLine) __builtin_prefetch(row + b);
  }
}

void open_chunk(const LayerCache& cache, const Piece& piece, int64_t page_size, ChunkKeys& keys) {
  const int64_t row_bytes = 2 * cache.width(), pair_bytes = 4 * cache.rank;
  reserve(keys.pairs, kAttendChunk / 2 * pair_bytes);
  const int64_t padded = round_up(piece.count, kPairKeys);
  const std::byte* tile = nullptr;
  for (int64_t j = 0; j < padded; j += 2) {
    std::byte* to = keys.pairs.data() + j / 2 * pair_bytes;
    if (j >= piece.count) {
      std::fill_n(to, pair_bytes, std::byte{0});
      continue;
    }
    if (j % kTileKeys == 0) tile = keys.tiles[j / kTileKeys] = open_tile(cache, piece, page_size, j, keys);
    prefetch_pair(cache, piece, page_size, j + kKeysAhead);
    const std::byte* key = tile + j % kTileKeys * row_bytes;
    kernels::kernels().pair_rows(key, j + 1 < piece.count ? key + row_bytes : nullptr, cache.rank, to);
  }
}

void attend_piece(const LayerCache& cache, const Piece& piece, int64_t page_size, int64_t rank,
                  double scale) {
  thread_local ChunkKeys keys;
  open_chunk(cache, piece, page_size, keys);
  const int64_t heads = piece.lanes / piece.seq.count, lane_bytes = query_product().row_bytes(cache.width());
  for (int64_t lane = 0; lane < piece.lanes; lane += kPanelRows) {
    TileAttendArgs args;
    args.q = piece.q + lane * lane_bytes;
    args.lanes = std::min(kPanelRows, piece.lanes - lane);
    args.key_tiles = keys.tiles;
    args.ldk = 2 * cache.width();
    args.value_pairs = keys.pairs.data();
    args.key_dim = cache.width();
    args.value_dim = rank;
    int64_t visible[kPanelRows];
    for (int64_t i = 0; i < args.lanes; ++i) {
      const int32_t position = piece.seq.positions[static_cast<size_t>((lane + i) / heads)];
      visible[i] = visible_keys(position, piece.first_key, piece.count);
    }
    args.visible = visible;
    args.scale = static_cast<float>(scale);
    args.max = piece.max + lane;
    args.sum = piece.sum + lane;
    args.out = piece.out + lane * rank;
    args.ldo = rank;
    std::fill_n(args.max, args.lanes, -std::numeric_limits<float>::infinity());
    std::fill_n(args.sum, args.lanes, 0.0F);
    std::fill_n(args.out, args.lanes * rank, 0.0F);
    kernels::kernels().attend_tiles(args);
  }
}

// The pieces of one sequence, its queries packed.
std::vector<Piece> cut_sequence(Context& ctx, const SequenceRows& seq, Cube<const float> q, int64_t rank) {
  const int64_t lanes = seq.count * q.shape[1], width = q.shape[2],
                lane_bytes = query_product().row_bytes(width);
  std::byte* packed = ctx.scratch.vec<std::byte>(kernels::packed_rows(lanes) * lane_bytes).data;
  pack_lanes(q[seq.first_row].data, width, lanes, width, packed);
  std::vector<Piece> pieces;
  for (int64_t first = 0; first < seq.num_keys(); first += kAttendChunk) {
    Piece piece{seq, first, std::min(kAttendChunk, seq.num_keys() - first), lanes, packed};
    piece.max = ctx.scratch.vec<float>(lanes).data;
    piece.sum = ctx.scratch.vec<float>(lanes).data;
    piece.out = ctx.scratch.vec<float>(lanes * rank).data;
    pieces.push_back(piece);
  }
  return pieces;
}

// The softmax over all chunks from those over each: added up in the order of the chunks.
void merge_lane(std::span<const Piece> pieces, int64_t lane, int64_t rank, float* out) {
  float largest = -std::numeric_limits<float>::infinity(), total = 0.0F;
  for (const Piece& piece : pieces) largest = std::max(largest, piece.max[lane]);
  std::fill_n(out, rank, 0.0F);
  for (const Piece& piece : pieces) {
    const float weight = std::exp(piece.max[lane] - largest);  // 0 for a chunk of which the lane sees nothing
    const float* part = piece.out + lane * rank;
    total += piece.sum[lane] * weight;
    for (int64_t d = 0; d < rank; ++d) out[d] += part[d] * weight;
  }
  const float inverse = 1.0F / total;
  for (int64_t d = 0; d < rank; ++d) out[d] *= inverse;
}

// ---- the expanded form: a lane is a row, head by head; keys and values are made of the latents chunk by chunk

struct PackedChunk {
  std::byte* k = nullptr;                                       // [H, keys to whole tiles, key bytes]
  std::byte* pairs = nullptr;                                   // [H, keys / 2 to whole tiles, V, 2]
  int64_t key_bytes = 0, keys = 0, head_k = 0, head_pairs = 0;  // the latter two in bytes
};

struct HeadDims {
  int64_t nope = 0, rotary = 0, value = 0;
};

PackedChunk expand_chunk(Context& ctx, Mat<const float> latents, const Weight& kv_b, int64_t heads,
                         HeadDims dims) {
  const KernelTable& kernel = kernels::kernels();
  const int64_t count = latents.shape[0], width = dims.nope + dims.value, padded = round_up(count, kPairKeys);
  const auto kv = ctx.scratch.mat<float>(count, heads * width);
  linear_unquantised(ctx, latents.slice_last(0, kv_b.in_features), kv_b, kv);
  PackedChunk chunk;
  chunk.keys = count;
  chunk.key_bytes = 2 * (dims.nope + dims.rotary);
  chunk.head_k = round_up(count, kTileKeys) * chunk.key_bytes;
  chunk.head_pairs = padded * 2 * dims.value;
  chunk.k = ctx.scratch.vec<std::byte>(heads * chunk.head_k).data;
  chunk.pairs = ctx.scratch.vec<std::byte>(heads * chunk.head_pairs).data;
  parallel_for(ctx.pool, padded / 2, 8, [&](int64_t begin, int64_t end) {
    for (int64_t pair = begin; pair < end; ++pair) {
      const int64_t j = 2 * pair, there = std::clamp<int64_t>(count - j, 0, 2);
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = j; i < j + there; ++i) {
          std::byte* key = chunk.k + h * chunk.head_k + i * chunk.key_bytes;
          kernel.store_bf16(kv[i].data + h * width, dims.nope, key);
          kernel.store_bf16(latents[i].data + kv_b.in_features, dims.rotary, key + 2 * dims.nope);
        }
        std::byte* to = chunk.pairs + h * chunk.head_pairs + pair * 4 * dims.value;
        const auto value = [&](int64_t i) { return kv[i].data + h * width + dims.nope; };
        if (there == 0) {
          std::fill_n(to, 4 * dims.value, std::byte{0});
        } else {
          kernel.pair_floats(value(j), there == 2 ? value(j + 1) : nullptr, dims.value, to);
        }
      }
    }
  });
  return chunk;
}

// Sixteen rows of one head at a time: their queries, packed, and their softmax so far.
struct Lanes {
  Mat<float> max, sum;  // [H, rows]
  Cube<float> out;      // [rows, H, V]
  int64_t tile_bytes = 0;
};

Lanes open_lanes(Context& ctx, Cube<const float> q, Cube<float> out) {
  const int64_t rows = q.shape[0], heads = q.shape[1];
  Lanes lanes;
  lanes.tile_bytes = kPanelRows * query_product().row_bytes(q.shape[2]);
  lanes.max = ctx.scratch.mat<float>(heads, rows);
  lanes.sum = ctx.scratch.mat<float>(heads, rows);
  lanes.out = out;
  std::fill_n(lanes.max.data, heads * rows, -std::numeric_limits<float>::infinity());
  std::fill_n(lanes.sum.data, heads * rows, 0.0F);
  for (int64_t t = 0; t < rows; ++t) std::fill_n(out[t].data, heads * out.shape[2], 0.0F);
  return lanes;
}

// Calls body(first row, rows, head, packed queries) for each sixteen rows of the sequence and each head.
template <class Body>
void for_each_tile(Context& ctx, const SequenceRows& seq, int64_t heads, const Lanes& lanes,
                   std::byte* packed, const Body& body) {
  const int64_t tiles = (seq.count + kPanelRows - 1) / kPanelRows;
  parallel_for(ctx.pool, heads * tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t h = item / tiles, from = item % tiles * kPanelRows;
      body(from, std::min(kPanelRows, seq.count - from), h, packed + item * lanes.tile_bytes);
    }
  });
}

void attend_chunk(Context& ctx, const SequenceRows& seq, const PackedChunk& chunk, int64_t first_key,
                  double scale, const Lanes& lanes, std::byte* packed, HeadDims dims) {
  for_each_tile(ctx, seq, lanes.out.shape[1], lanes, packed,
                [&](int64_t from, int64_t count, int64_t h, const std::byte* q) {
                  const std::byte* tiles[kAttendChunk / kTileKeys];
                  for (int64_t j = 0; j < chunk.keys; j += kTileKeys)
                    tiles[j / kTileKeys] = chunk.k + h * chunk.head_k + j * chunk.key_bytes;
                  int64_t visible[kPanelRows];
                  for (int64_t i = 0; i < count; ++i) {
                    const int32_t position = seq.positions[static_cast<size_t>(from + i)];
                    visible[i] = visible_keys(position, first_key, chunk.keys);
                  }
                  const int64_t row = seq.first_row + from;
                  TileAttendArgs args;
                  args.q = q;
                  args.lanes = count;
                  args.key_tiles = tiles;
                  args.ldk = chunk.key_bytes;
                  args.value_pairs = chunk.pairs + h * chunk.head_pairs;
                  args.key_dim = dims.nope + dims.rotary;
                  args.value_dim = dims.value;
                  args.visible = visible;
                  args.scale = static_cast<float>(scale);
                  args.max = &lanes.max[h][row];
                  args.sum = &lanes.sum[h][row];
                  args.out = lanes.out[row][h].data;
                  args.ldo = lanes.out.stride[0];
                  kernels::kernels().attend_tiles(args);
                });
}

}  // namespace

bool latent_suits_tiles(const Context& ctx, const LayerCache& cache, int64_t rank) {
  return kernels::kernels().attend_tiles && !ctx.precision.f32 &&
         (cache.format == Format::kBF16 || cache.format == Format::kF8E4M3) && cache.width() % 32 == 0 &&
         rank % 16 == 0;
}

void attend_latent_tiles(Context& ctx, Cube<const float> q, LayerCache cache, const Batch& batch,
                         double scale, Cube<float> out) {
  const auto frame = ctx.scratch.frame();
  const int64_t heads = q.shape[1], rank = out.shape[2];
  HADAL_CHECK(q.stride[1] == q.shape[2] && q.stride[0] == heads * q.shape[2], "attend_latent: q has gaps");
  std::vector<Piece> pieces;
  std::vector<int64_t> num_pieces;  // of each sequence
  for (int64_t s = 0; s < batch.num_decode_seqs; ++s) {
    const std::vector<Piece> more = cut_sequence(ctx, rows_of(batch, s, 0), q, rank);
    pieces.insert(pieces.end(), more.begin(), more.end());
    num_pieces.push_back(std::ssize(more));
  }
  parallel_for(ctx.pool, std::ssize(pieces), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      attend_piece(cache, pieces[static_cast<size_t>(i)], batch.page_size, rank, scale);
  });
  std::vector<std::span<const Piece>> pieces_of;  // of each row
  for (const Piece* own = pieces.data(); const int64_t count : num_pieces) {
    pieces_of.insert(pieces_of.end(), static_cast<size_t>(own->seq.count), {own, static_cast<size_t>(count)});
    own += count;
  }
  parallel_for(ctx.pool, q.shape[0] * heads, kPanelRows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / heads, head = i % heads;
      const std::span<const Piece> own = pieces_of[static_cast<size_t>(row)];
      merge_lane(own, (row - own[0].seq.first_row) * heads + head, rank, out[row][head].data);
    }
  });
}

bool expanded_suits_tiles(const Context& ctx, int64_t key_dim, int64_t value_dim) {
  return kernels::kernels().attend_tiles && !ctx.precision.f32 && key_dim % 32 == 0 && value_dim % 16 == 0;
}

void attend_expanded_tiles(Context& ctx, Cube<const float> q, LayerCache cache, const Weight& kv_b,
                           const Batch& batch, double scale, Cube<float> out) {
  const int64_t heads = q.shape[1], value = out.shape[2], nope = kv_b.out_features / heads - value;
  const HeadDims dims{nope, q.shape[2] - nope, value};
  const auto frame = ctx.scratch.frame();
  const Lanes lanes = open_lanes(ctx, q, out);
  for (int64_t s = batch.num_decode_seqs; s < batch.num_seqs(); ++s) {
    const auto sequence_frame = ctx.scratch.frame();
    const SequenceRows seq = rows_of(batch, s, batch.num_decode_tokens());
    const int64_t tiles = (seq.count + kPanelRows - 1) / kPanelRows;
    std::byte* packed = ctx.scratch.vec<std::byte>(tiles * heads * lanes.tile_bytes).data;
    for_each_tile(ctx, seq, heads, lanes, packed, [&](int64_t from, int64_t count, int64_t h, std::byte* to) {
      pack_lanes(q[seq.first_row + from][h].data, q.stride[0], count, q.shape[2], to);
    });
    for (int64_t first = 0; first < seq.num_keys(); first += kAttendChunk) {
      const auto chunk_frame = ctx.scratch.frame();
      const int64_t count = std::min(kAttendChunk, seq.num_keys() - first);
      const auto latents = load_latents(ctx, cache, seq, batch.page_size, first, count);
      const PackedChunk chunk = expand_chunk(ctx, latents, kv_b, heads, dims);
      attend_chunk(ctx, seq, chunk, first, scale, lanes, packed, dims);
    }
  }
  parallel_for(ctx.pool, out.shape[0], 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        const float inverse = 1.0F / lanes.sum[h][t];
        for (int64_t d = 0; d < value; ++d) out[t][h].data[d] *= inverse;
      }
    }
  });
}

}  // namespace hadal::ops
