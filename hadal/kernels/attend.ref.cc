#include <algorithm>
#include <cmath>
#include <limits>

#include "hadal/core/dtype.h"
#include "hadal/kernels/lanes.h"
#include "hadal/kernels/ref.h"

namespace hadal::kernels::ref {
namespace {

constexpr int64_t kQueryTile = 2;

// scores[i][j] = scale * q_i . k_j
template <int kQueries>
void score_tile(const AttendArgs& args, int64_t first_query, int64_t num_keys,
                float (&scores)[kQueryTile][kAttendChunk]) {
  const float* q = args.q + first_query * args.ldq;
  int64_t j = 0;
  for (; j + 2 <= num_keys; j += 2) {
    float dots[kQueries][2];
    dot_tile<kQueries, 2>(q, args.ldq, args.k + j * args.ldk, args.ldk, args.key_dim, dots);
    for (int i = 0; i < kQueries; ++i) {
      scores[i][j] = dots[i][0] * args.scale;
      scores[i][j + 1] = dots[i][1] * args.scale;
    }
  }
  if (j < num_keys) {
    float dots[kQueries][1];
    dot_tile<kQueries, 1>(q, args.ldq, args.k + j * args.ldk, args.ldk, args.key_dim, dots);
    for (int i = 0; i < kQueries; ++i) scores[i][j] = dots[i][0] * args.scale;
  }
}

// out = out * old_weight + (sum over j < num_keys, ascending, of p[j] * v_j) * new_weight, eight values at a time.
void weighted_values(const AttendArgs& args, int64_t query, const float* p, int64_t num_keys,
                     float old_weight, float new_weight) {
  float* out = args.out + query * args.ldo;
  for (int64_t d = 0; d < args.value_dim; d += kLanes) {
    Lanes sums;
    for (int64_t j = 0; j < num_keys; ++j) {
      const float* v = args.v + j * args.ldv + d;
      sums.low += p[j] * load4(v);
      sums.high += p[j] * load4(v + 4);
    }
    store4(out + d, load4(out + d) * old_weight + sums.low * new_weight);
    store4(out + d + 4, load4(out + d + 4) * old_weight + sums.high * new_weight);
  }
}

void merge_query(const AttendArgs& args, int64_t query, float* scores) {
  const int64_t visible = args.visible[query];
  if (visible == 0) return;
  const float chunk_max = *std::max_element(scores, scores + visible);
  float chunk_sum = 0.0F;
  for (int64_t j = 0; j < visible; ++j) {
    const float p = std::exp(scores[j] - chunk_max);
    chunk_sum += p;
    scores[j] = args.round_to_bf16 ? round_to_bf16(p) : p;
  }
  const float old_max = args.max[query], new_max = std::max(old_max, chunk_max);
  // exp(-inf) = 0 on the first chunk, where out and sum are still empty.
  const float old_weight = std::exp(old_max - new_max), new_weight = std::exp(chunk_max - new_max);
  args.max[query] = new_max;
  args.sum[query] = args.sum[query] * old_weight + chunk_sum * new_weight;
  weighted_values(args, query, scores, visible, old_weight, new_weight);
}

}  // namespace

void attend(const AttendArgs& args) noexcept {
  float scores[kQueryTile][kAttendChunk];
  for (int64_t i = 0; i < args.num_queries; i += kQueryTile) {
    if (i + kQueryTile <= args.num_queries) {
      const int64_t keys = std::max(args.visible[i], args.visible[i + 1]);
      score_tile<kQueryTile>(args, i, keys, scores);
      merge_query(args, i, scores[0]);
      merge_query(args, i + 1, scores[1]);
    } else {
      score_tile<1>(args, i, args.visible[i], scores);
      merge_query(args, i, scores[0]);
    }
  }
}

}  // namespace hadal::kernels::ref
