#pragma once

#include <map>

#include "hadal/core/view.h"

namespace hadal::model {

/// What a forward pass keeps when it is asked to (acts != nullptr): for tests, for `hadal logits --hidden-states`, and
/// the place where training will keep what its backward pass reads.
struct Acts {
  Tensor<float, 2> embedded;                           // [T, hidden_size]
  std::map<int64_t, Tensor<float, 2>> hidden;          // by layer: the residual stream after it
  std::map<int64_t, Tensor<int32_t, 2>> expert_ids;    // by MoE layer: [T, num_experts_per_tok]
  std::map<int64_t, Tensor<float, 2>> expert_weights;  // the same
};

}  // namespace hadal::model
