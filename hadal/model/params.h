#pragma once

#include <functional>
#include <vector>

#include "hadal/core/view.h"
#include "hadal/core/weight.h"
#include "hadal/model/param_spec.h"

namespace hadal::model {

/// A vector parameter as FP32, whatever the checkpoint stores.
struct VectorParam {
  std::vector<float> values;
  Vec<const float> view() const { return {values.data(), {static_cast<int64_t>(values.size())}}; }
};

/// Multi-head latent attention of one layer (V3 eqs. 1-11). Either q_proj, or q_a_proj, q_a_layernorm and q_b_proj.
struct MlaWeights {
  Weight q_proj;
  Weight q_a_proj, q_b_proj;
  VectorParam q_a_layernorm;
  Weight kv_a_proj_with_mqa, kv_b_proj, o_proj;
  VectorParam kv_a_layernorm;
};

/// down(silu(gate x) * up x): a dense layer's MLP, or the shared experts as one.
struct MlpWeights {
  Weight gate_proj, up_proj, down_proj;
};

/// DeepSeekMoE of one layer (V3 eqs. 12-16).
struct MoeWeights {
  Weight gate;                                        // [n_routed_experts, hidden_size]
  VectorParam e_score_correction_bias;                // empty unless topk_method is noaux_tc
  std::vector<Weight> gate_proj, up_proj, down_proj;  // [n_routed_experts]
  MlpWeights shared_experts;                          // empty weights when there are none
};

struct LayerWeights {
  VectorParam input_layernorm, post_attention_layernorm;
  MlaWeights self_attn;
  MlpWeights mlp;  // dense layers
  MoeWeights moe;  // the others
};

/// One multi-token-prediction module (V3 section 2.2).
struct MtpWeights {
  VectorParam enorm, hnorm, shared_head_norm;
  Weight eh_proj;
  Weight embed_tokens, shared_head;  // the main model's where the checkpoint has no copy
  LayerWeights layer;
};

/// The whole model, as views on what the checkpoint holds.
struct Weights {
  Weight embed_tokens, lm_head;
  VectorParam norm;
  std::vector<LayerWeights> layers;
  std::vector<MtpWeights> mtp;  // empty when the checkpoint has no such module
};

/// for_each_param with the place each tensor belongs to: exactly one of `map` and `vector` is set. Sizes the vectors in
/// `weights` first; what they hold already stays and can be read by the visitor.
using ParamVisitor = std::function<void(const ParamSpec& spec, Weight* map, VectorParam* vector)>;
void for_each_param(const ModelConfig& config, Weights& weights, const ParamVisitor& visit);

}  // namespace hadal::model
