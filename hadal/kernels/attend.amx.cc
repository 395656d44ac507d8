// Attention on AMX tiles. Scores come out transposed, S^T = K Q^T: keys are the A operand as they lie in the cache, and
// with a lane in each column the softmax needs nothing from across a register. Probabilities are turned round, to be the
// A operand of O = P V, whose B operand is the values with each two tokens interleaved.
#include <algorithm>

#include "hadal/kernels/amx.h"
#include "hadal/kernels/avx512.h"
#include "hadal/kernels/tiles.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels::amx {
namespace {

constexpr int64_t kLine = 64;
constexpr int64_t kProbabilityStride =
    2 * kAttendChunk + kLine;  // bytes; a power of two would collide in the cache

// What one call works on: it stays in L1 and L2.
struct alignas(64) Work {
  float scores[kAttendChunk][16];                   // [key, lane]
  std::byte probabilities[16][kProbabilityStride];  // [lane, key] as BF16
  float tile[4][16][16];                            // [lane, value]
  float old_weight[16], new_weight[16];
};

// Tiles 0-3 results of `rows` rows and `bytes` columns, 4 and 5 the A operand, 6 and 7 the B operand.
void configure(int64_t rows, int64_t bytes, int64_t a_rows) {
  TileConfig config;
  for (int64_t t = 0; t < 4; ++t) {
    config.rows[t] = static_cast<uint8_t>(rows);
    config.row_bytes[t] = static_cast<uint16_t>(bytes);
  }
  for (const int64_t t : {4, 5}) {
    config.rows[t] = static_cast<uint8_t>(a_rows);
    config.row_bytes[t] = kLine;
  }
  for (const int64_t t : {6, 7}) {
    config.rows[t] = 16;
    config.row_bytes[t] = static_cast<uint16_t>(bytes);
  }
  configure_tiles(config);
}

// Scores of four times 16 keys.
void score_four(const TileAttendArgs& args, int64_t tile, float (*scores)[16]) {
  const int64_t width = 4 * packed_rows(args.lanes), steps = args.key_dim / 32;
  const std::byte* const* k = args.key_tiles + tile;
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  for (int64_t s = 0; s < steps; ++s) {
    tile_load<6>(args.q + s * 16 * width, width);
    tile_load<4>(k[0] + s * kLine, args.ldk);
    tile_dot_bf16<0, 4, 6>();
    tile_load<5>(k[1] + s * kLine, args.ldk);
    tile_dot_bf16<1, 5, 6>();
    tile_load<4>(k[2] + s * kLine, args.ldk);
    tile_dot_bf16<2, 4, 6>();
    tile_load<5>(k[3] + s * kLine, args.ldk);
    tile_dot_bf16<3, 5, 6>();
  }
  tile_store<0>(scores[16 * tile], kLine);
  tile_store<1>(scores[16 * (tile + 1)], kLine);
  tile_store<2>(scores[16 * (tile + 2)], kLine);
  tile_store<3>(scores[16 * (tile + 3)], kLine);
}

void score_one(const TileAttendArgs& args, int64_t tile, float (*scores)[16]) {
  const int64_t width = 4 * packed_rows(args.lanes), steps = args.key_dim / 32;
  tile_zero<0>();
  for (int64_t s = 0; s < steps; ++s) {
    tile_load<6>(args.q + s * 16 * width, width);
    tile_load<4>(args.key_tiles[tile] + s * kLine, args.ldk);
    tile_dot_bf16<0, 4, 6>();
  }
  tile_store<0>(scores[16 * tile], kLine);
}

// Scores become probabilities, each lane's largest is 1; BF16, turned round. Merges max and sum, and says with what
// weights the old and the new output go together.
void softmax(const TileAttendArgs& args, int64_t keys, Work& work) {
  const auto lanes = static_cast<__mmask16>((1U << args.lanes) - 1);
  alignas(64) int32_t limit[16] = {};
  for (int64_t i = 0; i < args.lanes; ++i) limit[i] = static_cast<int32_t>(args.visible[i]);
  const __m512i visible = _mm512_load_si512(limit);
  const __m512 scale = _mm512_set1_ps(args.scale), nothing = _mm512_set1_ps(-__builtin_inff());
  __m512 largest = nothing;
  for (int64_t j = 0; j < keys; ++j) {
    const __mmask16 seen = _mm512_cmpgt_epi32_mask(visible, _mm512_set1_epi32(static_cast<int32_t>(j)));
    largest =
        _mm512_mask_max_ps(largest, seen, largest, _mm512_mul_ps(_mm512_load_ps(work.scores[j]), scale));
  }
  __m512 total = _mm512_setzero_ps();
  for (int64_t first = 0; first < keys; first += 16) {
    __m512i p[16];
    for (int64_t j = 0; j < 16; ++j) {
      const auto key = static_cast<int32_t>(first + j);
      const __mmask16 seen = _mm512_cmpgt_epi32_mask(visible, _mm512_set1_epi32(key));
      const __m512 score = _mm512_mul_ps(_mm512_load_ps(work.scores[key]), scale);
      const __m512 value = _mm512_maskz_mov_ps(seen, exp_16(_mm512_sub_ps(score, largest)));
      total = _mm512_add_ps(total, value);
      p[j] = _mm512_castps_si512(value);
    }
    transpose_16(p);
    for (int64_t i = 0; i < args.lanes; ++i) {
      auto* to = reinterpret_cast<__m256i*>(work.probabilities[i] + 2 * first);
      _mm256_store_si256(to, to_bf16_16(_mm512_castsi512_ps(p[i])));
    }
  }
  const __mmask16 some = _mm512_cmpgt_epi32_mask(visible, _mm512_setzero_si512());
  const __m512 old_max = _mm512_mask_loadu_ps(nothing, lanes, args.max),
               new_max = _mm512_max_ps(old_max, largest);
  const __m512 one = _mm512_set1_ps(1.0F);
  const __m512 old_weight = _mm512_mask_mov_ps(one, some, exp_16(_mm512_sub_ps(old_max, new_max)));
  const __m512 new_weight = _mm512_maskz_mov_ps(some, exp_16(_mm512_sub_ps(largest, new_max)));
  const __m512 sum = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, args.sum), old_weight);
  _mm512_mask_storeu_ps(args.max, lanes, new_max);
  _mm512_mask_storeu_ps(args.sum, lanes, _mm512_add_ps(sum, _mm512_mul_ps(total, new_weight)));
  _mm512_store_ps(work.old_weight, old_weight);
  _mm512_store_ps(work.new_weight, new_weight);
}

// out = out * old weight + tile * new weight, lane by lane.
void merge(const TileAttendArgs& args, const float (*tile)[16], int64_t value, const Work& work) {
  for (int64_t i = 0; i < args.lanes; ++i) {
    float* out = args.out + i * args.ldo + value;
    const __m512 old = _mm512_mul_ps(_mm512_loadu_ps(out), _mm512_set1_ps(work.old_weight[i]));
    _mm512_storeu_ps(
        out, _mm512_add_ps(old, _mm512_mul_ps(_mm512_load_ps(tile[i]), _mm512_set1_ps(work.new_weight[i]))));
  }
}

void values_four(const TileAttendArgs& args, int64_t value, int64_t steps, Work& work) {
  const int64_t stride = 4 * args.value_dim;
  const std::byte* v = args.value_pairs + 4 * value;
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  for (int64_t s = 0; s < steps; ++s, v += 16 * stride) {
    tile_load<4>(work.probabilities[0] + s * kLine, kProbabilityStride);
    tile_load<6>(v, stride);
    tile_dot_bf16<0, 4, 6>();
    tile_load<7>(v + kLine, stride);
    tile_dot_bf16<1, 4, 7>();
    tile_load<6>(v + 2 * kLine, stride);
    tile_dot_bf16<2, 4, 6>();
    tile_load<7>(v + 3 * kLine, stride);
    tile_dot_bf16<3, 4, 7>();
  }
  tile_store<0>(work.tile[0], kLine);
  tile_store<1>(work.tile[1], kLine);
  tile_store<2>(work.tile[2], kLine);
  tile_store<3>(work.tile[3], kLine);
  for (int64_t t = 0; t < 4; ++t) merge(args, work.tile[t], value + 16 * t, work);
}

void values_one(const TileAttendArgs& args, int64_t value, int64_t steps, Work& work) {
  const int64_t stride = 4 * args.value_dim;
  const std::byte* v = args.value_pairs + 4 * value;
  tile_zero<0>();
  for (int64_t s = 0; s < steps; ++s, v += 16 * stride) {
    tile_load<4>(work.probabilities[0] + s * kLine, kProbabilityStride);
    tile_load<6>(v, stride);
    tile_dot_bf16<0, 4, 6>();
  }
  tile_store<0>(work.tile[0], kLine);
  merge(args, work.tile[0], value, work);
}

}  // namespace

void attend_tiles(const TileAttendArgs& args) noexcept {
  Work work;
  const int64_t keys = *std::max_element(args.visible, args.visible + args.lanes);
  if (keys == 0) return;
  const int64_t tiles = (keys + 15) / 16, steps = (keys + 31) / 32;
  configure(16, 4 * packed_rows(args.lanes), 16);
  int64_t tile = 0;
  for (; tile + 4 <= tiles; tile += 4) score_four(args, tile, work.scores);
  for (; tile < tiles; ++tile) score_one(args, tile, work.scores);
  // Up to 32 keys, as the product below takes them; what lies beyond `keys` is seen by no lane.
  for (int64_t j = 16 * tiles; j < 32 * steps; ++j) _mm512_store_ps(work.scores[j], _mm512_setzero_ps());
  softmax(args, 32 * steps, work);
  configure(args.lanes, kLine, args.lanes);
  int64_t value = 0;
  for (; value + 64 <= args.value_dim; value += 64) values_four(args, value, steps, work);
  for (; value < args.value_dim; value += 16) values_one(args, value, steps, work);
  release_tiles();
}

void pair_rows(const std::byte* a, const std::byte* b, int64_t n, std::byte* out) noexcept {
  for (int64_t d = 0; d < n; d += 16) {
    const auto widened = [d](const std::byte* row) {
      return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + 2 * d)));
    };
    __m512i pair = widened(a);
    if (b) pair = _mm512_or_si512(pair, _mm512_slli_epi32(widened(b), 16));
    _mm512_storeu_si512(out + 4 * d, pair);
  }
}

void pair_floats(const float* a, const float* b, int64_t n, std::byte* out) noexcept {
  for (int64_t d = 0; d < n; d += 16) {
    __m512i pair = _mm512_cvtepu16_epi32(to_bf16_16(_mm512_loadu_ps(a + d)));
    if (b)
      pair = _mm512_or_si512(
          pair, _mm512_slli_epi32(_mm512_cvtepu16_epi32(to_bf16_16(_mm512_loadu_ps(b + d))), 16));
    _mm512_storeu_si512(out + 4 * d, pair);
  }
}

}  // namespace hadal::kernels::amx

#include "hadal/kernels/target_end.inc"
