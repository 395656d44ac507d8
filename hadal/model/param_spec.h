#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hadal/model/config.h"

namespace hadal::model {

/// What a tensor is, as far as reading it goes.
enum class ParamKind : uint8_t {
  kLinear,  // a map that may be quantised: FP8 as released, or one of hadal's own formats (<name>_scale...)
  kHead,    // a map that no release has in FP8, but hadal's own formats may hold: heads, eh_proj
  kPlain,   // a map or table that is never quantised: embeddings, the router
  kVector,  // norms and the correction bias: read as FP32
};

/// One tensor of the checkpoint, under its Hugging Face name.
struct ParamSpec {
  std::string name;
  std::vector<int64_t> shape;
  std::string
      formula;  // the shape in config keys, for messages: "[kv_lora_rank + qk_rope_head_dim, hidden_size]"
  ParamKind kind = ParamKind::kLinear;
  int64_t layer = -1;      // -1: outside the layers
  int64_t expert = -1;     // of a routed expert
  bool mtp = false;        // belongs to a multi-token-prediction module (layers num_hidden_layers and up)
  bool duplicate = false;  // a copy of the main model's embedding or head that a checkpoint may leave out
};

/// Calls visit for each tensor of the model in the order in which the forward pass meets them, MTP modules last. This is
/// the one list of parameters: loading, counting, verifying and writing derive from it.
void for_each_param(const ModelConfig& config, const std::function<void(const ParamSpec&)>& visit);

}  // namespace hadal::model
