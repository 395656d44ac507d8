#include "hadal/model/params.h"

#include <fmt/format.h>

namespace hadal::model {
namespace {

// Walks the model in the order of the forward pass and names each tensor as Hugging Face does.
class ParamWalk {
 public:
  ParamWalk(const ModelConfig& config, const ParamVisitor& visit) : c_(config), visit_(visit) {}

  void model(Weights& w) {
    plain("model.embed_tokens.weight", {c_.vocab_size, c_.hidden_size}, "[vocab_size, hidden_size]",
          w.embed_tokens);
    for (int64_t l = 0; l < c_.num_hidden_layers; ++l) {
      layer_ = l;
      layer(w.layers[static_cast<size_t>(l)], c_.is_moe_layer(l));
    }
    layer_ = -1;
    vector("model.norm.weight", {c_.hidden_size}, "[hidden_size]", w.norm);
    if (!c_.tie_word_embeddings) {
      head("lm_head.weight", {c_.vocab_size, c_.hidden_size}, "[vocab_size, hidden_size]", w.lm_head);
    }
    for (size_t i = 0; i < w.mtp.size(); ++i) {
      layer_ = c_.num_hidden_layers + static_cast<int64_t>(i);
      mtp(w.mtp[i]);
    }
  }

 private:
  void mtp(MtpWeights& w) {
    mtp_ = true;
    const int64_t hidden = c_.hidden_size;
    duplicate_ = true;
    plain(in_layer("embed_tokens.weight"), {c_.vocab_size, hidden}, "[vocab_size, hidden_size]",
          w.embed_tokens);
    duplicate_ = false;
    vector(in_layer("enorm.weight"), {hidden}, "[hidden_size]", w.enorm);
    vector(in_layer("hnorm.weight"), {hidden}, "[hidden_size]", w.hnorm);
    head(in_layer("eh_proj.weight"), {hidden, 2 * hidden}, "[hidden_size, 2 * hidden_size]", w.eh_proj);
    layer(w.layer, c_.n_routed_experts > 0);
    vector(in_layer("shared_head.norm.weight"), {hidden}, "[hidden_size]", w.shared_head_norm);
    duplicate_ = true;
    head(in_layer("shared_head.head.weight"), {c_.vocab_size, hidden}, "[vocab_size, hidden_size]",
         w.shared_head);
    duplicate_ = false;
  }

  void layer(LayerWeights& w, bool moe_layer) {
    vector(in_layer("input_layernorm.weight"), {c_.hidden_size}, "[hidden_size]", w.input_layernorm);
    attention(w.self_attn);
    vector(in_layer("post_attention_layernorm.weight"), {c_.hidden_size}, "[hidden_size]",
           w.post_attention_layernorm);
    if (moe_layer) {
      moe(w.moe);
    } else {
      mlp("mlp.", c_.intermediate_size, "intermediate_size", w.mlp);
    }
  }

  void attention(MlaWeights& w) {
    const int64_t heads = c_.num_attention_heads, hidden = c_.hidden_size, rank = c_.kv_lora_rank;
    const std::string q_rows = "num_attention_heads * (qk_nope_head_dim + qk_rope_head_dim)";
    const std::string at = "self_attn.";
    if (c_.q_lora_rank) {
      linear(at + "q_a_proj.weight", {*c_.q_lora_rank, hidden}, "[q_lora_rank, hidden_size]", w.q_a_proj);
      vector(in_layer(at + "q_a_layernorm.weight"), {*c_.q_lora_rank}, "[q_lora_rank]", w.q_a_layernorm);
      linear(at + "q_b_proj.weight", {heads * c_.qk_head_dim(), *c_.q_lora_rank},
             fmt::format("[{}, q_lora_rank]", q_rows), w.q_b_proj);
    } else {
      linear(at + "q_proj.weight", {heads * c_.qk_head_dim(), hidden},
             fmt::format("[{}, hidden_size]", q_rows), w.q_proj);
    }
    linear(at + "kv_a_proj_with_mqa.weight", {c_.latent_width(), hidden},
           "[kv_lora_rank + qk_rope_head_dim, hidden_size]", w.kv_a_proj_with_mqa);
    vector(in_layer(at + "kv_a_layernorm.weight"), {rank}, "[kv_lora_rank]", w.kv_a_layernorm);
    linear(at + "kv_b_proj.weight", {heads * (c_.qk_nope_head_dim + c_.v_head_dim), rank},
           "[num_attention_heads * (qk_nope_head_dim + v_head_dim), kv_lora_rank]", w.kv_b_proj);
    linear(at + "o_proj.weight", {hidden, heads * c_.v_head_dim},
           "[hidden_size, num_attention_heads * v_head_dim]", w.o_proj);
  }

  void moe(MoeWeights& w) {
    const int64_t experts = c_.n_routed_experts;
    plain(in_layer("mlp.gate.weight"), {experts, c_.hidden_size}, "[n_routed_experts, hidden_size]", w.gate);
    if (c_.topk_method == TopkMethod::kNoauxTc) {
      vector(in_layer("mlp.gate.e_score_correction_bias"), {experts}, "[n_routed_experts]",
             w.e_score_correction_bias);
    }
    for (auto* list : {&w.gate_proj, &w.up_proj, &w.down_proj}) list->resize(static_cast<size_t>(experts));
    for (expert_ = 0; expert_ < experts; ++expert_) {
      const auto e = static_cast<size_t>(expert_);
      MlpWeights expert{w.gate_proj[e], w.up_proj[e], w.down_proj[e]};
      mlp(fmt::format("mlp.experts.{}.", expert_), c_.moe_intermediate_size, "moe_intermediate_size", expert);
      w.gate_proj[e] = expert.gate_proj;
      w.up_proj[e] = expert.up_proj;
      w.down_proj[e] = expert.down_proj;
    }
    expert_ = -1;
    if (c_.n_shared_experts > 0) {
      mlp("mlp.shared_experts.", c_.n_shared_experts * c_.moe_intermediate_size,
          "n_shared_experts * moe_intermediate_size", w.shared_experts);
    }
  }

  void mlp(const std::string& at, int64_t width, const std::string& width_key, MlpWeights& w) {
    linear(at + "gate_proj.weight", {width, c_.hidden_size}, fmt::format("[{}, hidden_size]", width_key),
           w.gate_proj);
    linear(at + "up_proj.weight", {width, c_.hidden_size}, fmt::format("[{}, hidden_size]", width_key),
           w.up_proj);
    linear(at + "down_proj.weight", {c_.hidden_size, width}, fmt::format("[hidden_size, {}]", width_key),
           w.down_proj);
  }

  std::string in_layer(const std::string& rest) const {
    return fmt::format("model.layers.{}.{}", layer_, rest);
  }

  ParamSpec spec(const std::string& name, std::vector<int64_t> shape, const std::string& formula,
                 ParamKind kind) const {
    return {name, std::move(shape), formula, kind, layer_, expert_, mtp_, duplicate_};
  }
  void linear(const std::string& rest, std::vector<int64_t> shape, const std::string& formula,
              Weight& place) {
    visit_(spec(in_layer(rest), std::move(shape), formula, ParamKind::kLinear), &place, nullptr);
  }
  void plain(const std::string& name, std::vector<int64_t> shape, const std::string& formula, Weight& place) {
    visit_(spec(name, std::move(shape), formula, ParamKind::kPlain), &place, nullptr);
  }
  void head(const std::string& name, std::vector<int64_t> shape, const std::string& formula, Weight& place) {
    visit_(spec(name, std::move(shape), formula, ParamKind::kHead), &place, nullptr);
  }
  void vector(const std::string& name, std::vector<int64_t> shape, const std::string& formula,
              VectorParam& place) {
    visit_(spec(name, std::move(shape), formula, ParamKind::kVector), nullptr, &place);
  }

  const ModelConfig& c_;
  const ParamVisitor& visit_;
  int64_t layer_ = -1, expert_ = -1;
  bool mtp_ = false, duplicate_ = false;
};

}  // namespace

void for_each_param(const ModelConfig& config, Weights& weights, const ParamVisitor& visit) {
  weights.layers.resize(static_cast<size_t>(config.num_hidden_layers));
  weights.mtp.resize(static_cast<size_t>(config.num_nextn_predict_layers));
  ParamWalk(config, visit).model(weights);
}

void for_each_param(const ModelConfig& config, const std::function<void(const ParamSpec&)>& visit) {
  Weights unused;
  for_each_param(config, unused, [&](const ParamSpec& spec, Weight*, VectorParam*) { visit(spec); });
}

}  // namespace hadal::model
