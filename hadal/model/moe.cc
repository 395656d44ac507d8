#include "hadal/model/moe.h"

#include <algorithm>

#include "hadal/core/phase_timer.h"
#include "hadal/ops/activation.h"
#include "hadal/ops/gate.h"
#include "hadal/ops/linear.h"
#include "hadal/ops/mlp.h"

namespace hadal::model {
namespace {

// Numbers in the outputs of all (token, expert) pairs that go through the experts together: enough that an expert sees many
// rows for each time its weights are read (2,048 x 6 / 64 = 192 on V2-Lite, 585 x 8 / 256 = 18 on V3), few enough for memory.
constexpr int64_t kNumbersAtOnce = int64_t{1} << 25;

ops::GateRule gate_rule(const ModelConfig& c) {
  ops::GateRule rule;
  rule.score = c.scoring_func == ScoringFunc::kSoftmax ? ops::GateRule::Score::kSoftmax
                                                       : ops::GateRule::Score::kSigmoid;
  switch (c.topk_method) {
    case TopkMethod::kGreedy:
      rule.select = ops::GateRule::Select::kGreedy;
      break;
    case TopkMethod::kGroupLimitedGreedy:
      rule.select = ops::GateRule::Select::kGroupLimited;
      break;
    case TopkMethod::kNoauxTc:
      rule.select = ops::GateRule::Select::kBiasedGroups;
      break;
  }
  rule.experts_per_token = c.num_experts_per_tok;
  rule.num_groups = c.n_group;
  rule.top_groups = c.topk_group;
  rule.normalize = c.norm_topk_prob;
  rule.scaling = c.routed_scaling_factor;
  return rule;
}

// The chosen (token, slot) pairs, sorted by expert and within one by token.
struct Pairs {
  std::span<int32_t> token_of;      // [P] row of x
  std::span<int32_t> pair_of;       // [T * K] where pair (token, slot) went
  std::span<int32_t> expert_start;  // [E + 1]
};

Pairs sort_by_expert(ops::Context& ctx, Mat<const int32_t> ids, int64_t experts) {
  const int64_t tokens = ids.shape[0], slots = ids.shape[1];
  const auto vec = [&](int64_t n) {
    const auto v = ctx.scratch.vec<int32_t>(n);
    return std::span<int32_t>(v.data, static_cast<size_t>(n));
  };
  const Pairs pairs{vec(tokens * slots), vec(tokens * slots), vec(experts + 1)};
  std::ranges::fill(pairs.expert_start, 0);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t s = 0; s < slots; ++s) ++pairs.expert_start[static_cast<size_t>(ids[t][s]) + 1];
  }
  for (size_t e = 1; e < pairs.expert_start.size(); ++e) pairs.expert_start[e] += pairs.expert_start[e - 1];
  const auto next = vec(experts);
  std::copy_n(pairs.expert_start.begin(), experts, next.begin());
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t s = 0; s < slots; ++s) {
      const int32_t pair = next[static_cast<size_t>(ids[t][s])]++;
      pairs.token_of[static_cast<size_t>(pair)] = static_cast<int32_t>(t);
      pairs.pair_of[static_cast<size_t>(t * slots + s)] = pair;
    }
  }
  return pairs;
}

// y[t] = sum over slots, in slot order, of weight * out[pair]; so a token's sum never depends on its neighbours.
void combine(ops::Context& ctx, const Pairs& pairs, Mat<const float> weights, Mat<const float> out,
             Mat<float> y) {
  const int64_t slots = weights.shape[1];
  parallel_for(ctx.pool, y.shape[0], 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* sum = y[t].data;
      std::fill_n(sum, y.shape[1], 0.0F);
      for (int64_t s = 0; s < slots; ++s) {
        const float weight = weights[t][s];
        const float* expert = out[pairs.pair_of[static_cast<size_t>(t * slots + s)]].data;
        for (int64_t i = 0; i < y.shape[1]; ++i) sum[i] += weight * expert[i];
      }
    }
  });
}

// The experts that have work, and the shared ones, as tasks of one grouped MLP. y of pair p is row p of `out`.
std::span<const ops::MlpTask> mlp_tasks(ops::Context& ctx, const MoeWeights& w, const Pairs& pairs,
                                        std::span<const int32_t> all_tokens, Mat<float> out,
                                        Mat<float> shared) {
  const auto experts = static_cast<int64_t>(w.gate_proj.size());
  const auto tasks = ctx.scratch.vec<ops::MlpTask>(experts + 1);
  int64_t count = 0;
  if (!w.shared_experts.gate_proj.empty()) {
    const MlpWeights& s = w.shared_experts;
    tasks[count++] = {&s.gate_proj, &s.up_proj, &s.down_proj, all_tokens, shared};
  }
  for (size_t e = 0; e < w.gate_proj.size(); ++e) {
    const int64_t first = pairs.expert_start[e], rows = pairs.expert_start[e + 1] - first;
    if (rows == 0) continue;
    const auto tokens = pairs.token_of.subspan(static_cast<size_t>(first), static_cast<size_t>(rows));
    tasks[count++] = {&w.gate_proj[e], &w.up_proj[e], &w.down_proj[e], tokens, out.rows(first, rows)};
  }
  return {tasks.data, static_cast<size_t>(count)};
}

std::span<const int32_t> row_numbers(ops::Context& ctx, int64_t count) {
  const auto rows = ctx.scratch.vec<int32_t>(count);
  for (int64_t i = 0; i < count; ++i) rows[i] = static_cast<int32_t>(i);
  return {rows.data, static_cast<size_t>(count)};
}

// y = the routed experts' weighted sum, plus the shared experts.                                   V3 eq. 12
void experts(ops::Context& ctx, const MoeWeights& w, const ModelConfig& c, Mat<const float> x,
             const Routes& routes, Mat<float> y) {
  const Pairs pairs = sort_by_expert(ctx, routes.ids, c.n_routed_experts);
  const auto P = static_cast<int64_t>(pairs.token_of.size());
  const auto out = ctx.scratch.mat<float>(P, c.hidden_size);
  const auto shared = ctx.scratch.mat<float>(x.shape[0], c.hidden_size);
  ops::grouped_mlp(ctx, x, mlp_tasks(ctx, w, pairs, row_numbers(ctx, x.shape[0]), out, shared));
  combine(ctx, pairs, routes.weights, out, y);
  if (!w.shared_experts.gate_proj.empty()) ops::add(ctx, shared, y);
}

}  // namespace

void mlp_forward(ops::Context& ctx, const MlpWeights& w, Mat<const float> x, Mat<float> y) {
  const PhaseScope timed(Phase::kDense);
  const auto frame = ctx.scratch.frame();
  const ops::MlpTask task{&w.gate_proj, &w.up_proj, &w.down_proj, row_numbers(ctx, x.shape[0]), y};
  ops::grouped_mlp(ctx, x, {&task, 1});
}

void moe_forward(ops::Context& ctx, const MoeWeights& w, const ModelConfig& c, Mat<const float> x,
                 const Routes& routes, Mat<float> y) {
  const PhaseScope timed(Phase::kExperts);
  const int64_t at_once = std::max<int64_t>(1, kNumbersAtOnce / (c.num_experts_per_tok * c.hidden_size));
  for (int64_t first = 0; first < x.shape[0]; first += at_once) {
    const int64_t T = std::min(at_once, x.shape[0] - first);
    const auto frame = ctx.scratch.frame();
    const auto tokens = x.rows(first, T);
    const Routes chosen{routes.ids.rows(first, T), routes.weights.rows(first, T)};
    const auto logits = ctx.scratch.mat<float>(T, c.n_routed_experts);
    ops::linear_f32(ctx, tokens, w.gate, logits);  // FP32: BF16 here would flip experts in near-ties
    ops::gate(ctx, logits, w.e_score_correction_bias.view(), gate_rule(c), chosen.ids,
              chosen.weights);  // eqs. 13-16
    experts(ctx, w, c, tokens, chosen, y.rows(first, T));
  }
}

}  // namespace hadal::model
