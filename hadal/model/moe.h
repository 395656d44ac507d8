#pragma once

#include "hadal/core/view.h"
#include "hadal/model/config.h"
#include "hadal/model/params.h"
#include "hadal/ops/context.h"

namespace hadal::model {

/// A layer's choice of experts, per token: which, and with what factor.
struct Routes {
  Mat<int32_t> ids;    // [T, num_experts_per_tok]
  Mat<float> weights;  // [T, num_experts_per_tok]
};

/// y = down(silu(gate x) * up x). x, y: [T, hidden_size].
void mlp_forward(ops::Context& ctx, const MlpWeights& w, Mat<const float> x, Mat<float> y);

/// DeepSeekMoE: y = sum over the chosen experts of weight * expert(x), plus the shared experts (V3 eqs. 12-15).
/// x, y: [T, hidden_size]. The choice goes to `routes`, which the caller allocates.
void moe_forward(ops::Context& ctx, const MoeWeights& w, const ModelConfig& c, Mat<const float> x,
                 const Routes& routes, Mat<float> y);

}  // namespace hadal::model
