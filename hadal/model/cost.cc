#include "hadal/model/cost.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numeric>

#include "hadal/model/mla.h"
#include "hadal/model/weight_scheme.h"

namespace hadal::model {
namespace {

Work work_of(const Weight& map, Unit unit) {
  Work work;
  work.bytes = static_cast<double>(stored_bytes(map));
  work.operations[static_cast<size_t>(unit)] =
      2.0 * static_cast<double>(map.out_features) * static_cast<double>(map.in_features);
  return work;
}

Work work_of(std::initializer_list<const Weight*> maps) {
  Work work;
  for (const Weight* map : maps) work += work_of(*map, unit_of(map->format));
  return work;
}

// Its bytes once, its operations for so many tokens.
Work for_tokens(Work work, double tokens) {
  for (double& operations : work.operations) operations *= tokens;
  return work;
}

Work times(Work work, double factor) {
  work.bytes *= factor;
  return for_tokens(work, factor);
}

// All routed experts of a layer.
Work experts_work(const MoeWeights& moe) {
  Work work;
  for (size_t e = 0; e < moe.gate_proj.size(); ++e)
    work += work_of({&moe.gate_proj[e], &moe.up_proj[e], &moe.down_proj[e]});
  return work;
}

double layer_bytes(const LayerWeights& layer) {
  const MlaWeights& a = layer.self_attn;
  const MlpWeights &mlp = layer.mlp, &shared = layer.moe.shared_experts;
  const Work maps = work_of({&a.q_proj, &a.q_a_proj, &a.q_b_proj, &a.kv_a_proj_with_mqa, &a.kv_b_proj,
                             &a.o_proj, &mlp.gate_proj, &mlp.up_proj, &mlp.down_proj, &shared.gate_proj,
                             &shared.up_proj, &shared.down_proj, &layer.moe.gate});
  return maps.bytes + experts_work(layer.moe).bytes;
}

Work& at(StepWork& step, Phase phase) {
  return step[static_cast<size_t>(phase)];
}

}  // namespace

double Work::total_operations() const {
  return std::accumulate(operations.begin(), operations.end(), 0.0);
}

Work& Work::operator+=(const Work& other) {
  bytes += other.bytes;
  for (size_t i = 0; i < kNumUnits; ++i) operations[i] += other.operations[i];
  return *this;
}

double weight_bytes(const ModelConfig& config, const Weights& weights) {
  double bytes = work_of({&weights.embed_tokens}).bytes;
  if (!config.tie_word_embeddings) bytes += work_of({&weights.lm_head}).bytes;
  for (const LayerWeights& layer : weights.layers) bytes += layer_bytes(layer);
  for (const MtpWeights& mtp : weights.mtp) {
    bytes += layer_bytes(mtp.layer) + work_of({&mtp.eh_proj}).bytes;
    // A checkpoint may hold copies; a module without its own shares the main model's.
    if (mtp.embed_tokens.data != weights.embed_tokens.data) bytes += work_of({&mtp.embed_tokens}).bytes;
    if (mtp.shared_head.data != weights.lm_head.data) bytes += work_of({&mtp.shared_head}).bytes;
  }
  return bytes;
}

Work total(const StepWork& step) {
  Work sum;
  for (const Work& phase : step) sum += phase;
  return sum;
}

double least_seconds(const StepWork& step, const MachineLimits& limits) {
  double seconds = 0;
  for (const Work& phase : step) {
    double arithmetic = 0;
    for (size_t i = 0; i < kNumUnits; ++i) {
      if (phase.operations[i] > 0) arithmetic += phase.operations[i] / limits.op_per_s[i];
    }
    seconds += std::max(arithmetic, phase.bytes / limits.read_bytes_per_s);
  }
  return seconds;
}

CostModel::CostModel(const ModelConfig& config, const Weights& weights, Format cache)
    : config_(config), cache_(cache) {
  for (const LayerWeights& layer : weights.layers) {
    const MlaWeights& a = layer.self_attn;
    dense_ += work_of({&a.q_proj, &a.q_a_proj, &a.q_b_proj, &a.kv_a_proj_with_mqa, &a.o_proj});
    dense_ += work_of({&layer.mlp.gate_proj, &layer.mlp.up_proj, &layer.mlp.down_proj});
    kv_b_ += work_of({&a.kv_b_proj});
    const MoeWeights& moe = layer.moe;
    if (moe.gate_proj.empty()) continue;
    const MlpWeights& shared = moe.shared_experts;
    always_ += work_of({&shared.gate_proj, &shared.up_proj, &shared.down_proj});
    always_ += work_of(moe.gate, Unit::kF32);  // whatever its format: ops::linear_f32
    expert_ += times(experts_work(moe), 1.0 / static_cast<double>(moe.gate_proj.size()));
  }
  head_ = work_of({&weights.lm_head});
}

double CostModel::cache_bytes_per_token() const {
  return static_cast<double>(layer_cache(config_, cache_).row_bytes() * config_.num_hidden_layers);
}

// A token misses a given expert with probability 1 - k / E, and tokens choose independently.
double CostModel::distinct_experts(int64_t tokens) const {
  if (config_.n_routed_experts == 0) return 0;
  const auto experts = static_cast<double>(config_.n_routed_experts);
  const double misses = 1 - static_cast<double>(config_.num_experts_per_tok) / experts;
  return experts * (1 - std::pow(misses, static_cast<double>(tokens)));
}

StepWork CostModel::without_attention(int64_t tokens, int64_t logit_rows) const {
  const auto rows = static_cast<double>(tokens);
  StepWork step;
  at(step, Phase::kDense) = for_tokens(dense_, rows);
  Work& experts = at(step, Phase::kExperts);
  experts = for_tokens(expert_, rows * static_cast<double>(config_.num_experts_per_tok));
  experts.bytes *= distinct_experts(tokens);
  experts += for_tokens(always_, rows);
  if (logit_rows > 0) at(step, Phase::kHead) = for_tokens(head_, static_cast<double>(logit_rows));
  return step;
}

// Absorbed: scores over latent_width numbers of each token, sums over kv_lora_rank of them (V2 section 2.1.2).
StepWork CostModel::decode(int64_t batch, int64_t context) const {
  StepWork step = without_attention(batch, batch);
  const auto rows = static_cast<double>(batch), pairs = rows * static_cast<double>(context);
  Work& attention = at(step, Phase::kAttention);
  attention = for_tokens(kv_b_, rows);
  attention.bytes += pairs * cache_bytes_per_token();
  const auto width = static_cast<double>(config_.latent_width() + config_.kv_lora_rank);
  attention.operations[static_cast<size_t>(unit_of(cache_))] +=
      2 * pairs * width * static_cast<double>(config_.num_attention_heads * config_.num_hidden_layers);
  return step;
}

// Expanded: kv_b_proj makes keys and values of all tokens so far, the step's own and those before.
StepWork CostModel::prefill(int64_t start, int64_t tokens, bool logits) const {
  StepWork step = without_attention(tokens, logits ? 1 : 0);
  const auto rows = static_cast<double>(tokens), keys = static_cast<double>(start + tokens);
  const double pairs = rows * static_cast<double>(start) + rows * (rows + 1) / 2;
  Work& attention = at(step, Phase::kAttention);
  attention = for_tokens(kv_b_, keys);
  attention.bytes += keys * cache_bytes_per_token();
  const auto width = static_cast<double>(config_.qk_head_dim() + config_.v_head_dim);
  attention.operations[static_cast<size_t>(unit_of(cache_))] +=
      2 * pairs * width * static_cast<double>(config_.num_attention_heads * config_.num_hidden_layers);
  return step;
}

}  // namespace hadal::model
