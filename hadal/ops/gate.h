#pragma once

#include <cstdint>

#include "hadal/core/view.h"
#include "hadal/ops/context.h"

namespace hadal::ops {

/// How a token chooses its experts (V2 section 2.1.2, V3 section 2.1.2).
struct GateRule {
  enum class Score : uint8_t { kSoftmax, kSigmoid };
  enum class Select : uint8_t { kGreedy, kGroupLimited, kBiasedGroups };
  Score score = Score::kSoftmax;
  Select select = Select::kGreedy;
  int64_t experts_per_token = 1, num_groups = 1, top_groups = 1;
  bool normalize = false;  // norm_topk_prob
  double scaling = 1.0;    // routed_scaling_factor
};

/// Per token: scores from router logits, the experts_per_token chosen ones in descending order of selection score
/// (ties: lower index first), and the factor of each expert's output.
///   kGreedy         top scores over all experts
///   kGroupLimited   groups by their largest score, then top scores inside the chosen groups
///   kBiasedGroups   the same on score + bias, groups by the sum of their two largest; factors are without the bias
/// kGreedy and kGroupLimited divide by the sum (normalize) or else multiply by scaling; kBiasedGroups does both.
/// logits: [T, E] FP32; bias: [E], read by kBiasedGroups only; ids, weights: [T, experts_per_token].
void gate(Context& ctx, Mat<const float> logits, Vec<const float> bias, const GateRule& rule,
          Mat<int32_t> ids, Mat<float> weights);

}  // namespace hadal::ops
