#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hadal/core/json.h"
#include "hadal/core/weight.h"

namespace hadal::model {

/// How router logits become scores, and how experts are chosen by them (V2 section 2.1.2, V3 section 2.1.2).
enum class ScoringFunc : uint8_t { kSoftmax, kSigmoid };
enum class TopkMethod : uint8_t { kGreedy, kGroupLimitedGreedy, kNoauxTc };

/// rope_scaling of type "yarn" (docs/model.md#yarn). Absent from the config: plain RoPE.
struct YarnScaling {
  double factor = 1.0;
  int64_t original_max_position_embeddings = 4096;
  double beta_fast = 32.0, beta_slow = 1.0;
  double mscale = 1.0, mscale_all_dim = 0.0;  // the official code's defaults
};

/// quantization_config. Which tensors are quantised is read from the tensors themselves.
struct QuantizationConfig {
  Format format = Format::kF8E4M3;  // quant_method "fp8": kF8E4M3; "hadal": kI8 or kI4, as most weights are
  int64_t group_size = 0;           // kI4: columns that share a group code; 0: there are no groups
  int64_t block_rows = 128, block_cols = 128;  // weight_block_size, of FP8
  bool ue8m0 = false;                          // scale_fmt: activation scales are powers of two (W8A8)
};

/// config.json of the DeepSeek-V2/V3 family. Field names are the keys of Hugging Face.
struct ModelConfig {
  std::string model_type;  // for messages and defaults only: behaviour follows the keys below
  int64_t vocab_size = 0, hidden_size = 0;
  int64_t intermediate_size = 0, moe_intermediate_size = 0;
  int64_t num_hidden_layers = 0, first_k_dense_replace = 0, moe_layer_freq = 1;
  int64_t num_attention_heads = 0;
  std::optional<int64_t> q_lora_rank;  // empty: one q_proj, no query norm
  int64_t kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  int64_t n_routed_experts = 0;  // 0: every layer is dense
  int64_t n_shared_experts = 0, num_experts_per_tok = 0, n_group = 1, topk_group = 1;
  TopkMethod topk_method = TopkMethod::kGreedy;
  ScoringFunc scoring_func = ScoringFunc::kSoftmax;
  bool norm_topk_prob = false;
  double routed_scaling_factor = 1.0;
  double rope_theta = 10000.0;
  std::optional<YarnScaling> rope_scaling;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;
  int64_t num_nextn_predict_layers = 0;
  std::optional<QuantizationConfig> quantization;
  std::optional<int64_t> bos_token_id;
  std::vector<int64_t> eos_token_ids;  // one or several

  /// Layer l has experts iff l >= first_k_dense_replace and l % moe_layer_freq == 0. MTP layers always do.
  bool is_moe_layer(int64_t layer) const;
  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  /// What the cache keeps of a token in a layer: the latent and the shared rotary key.
  int64_t latent_width() const { return kv_lora_rank + qk_rope_head_dim; }
  /// (qk_nope_head_dim + qk_rope_head_dim)^-0.5, times YaRN's mscale_all_dim factor squared.
  double softmax_scale() const;
};

/// Strict: every key is used, on the list of harmless keys with its reason, or an Error{kConfig} that names the key,
/// what was expected and what was found. `where` (the file) opens each message. Both the old spellings
/// (rope_scaling, torch_dtype) and those of transformers 5 (rope_parameters, dtype) are read.
ModelConfig parse_config(const json& config, const std::string& where);

/// parse_config of folder/config.json, or of the file itself when `path` is one.
ModelConfig load_config(const std::string& path);

/// A config.json key that changes nothing here, and why.
struct HarmlessKey {
  const char* key;
  const char* reason;
};
const std::vector<HarmlessKey>& harmless_keys();

}  // namespace hadal::model
