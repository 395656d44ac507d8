#include "hadal/ops/gate.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hadal::ops {
namespace {

// Some 20 microseconds of a thread's work: more than handing it out takes.
constexpr int64_t kTokensInPiece = 16;
constexpr float kExcluded = -std::numeric_limits<float>::infinity();

void softmax(Vec<const float> logits, Vec<float> scores) {
  float largest = logits[0];
  for (int64_t e = 1; e < logits.shape[0]; ++e) largest = std::max(largest, logits[e]);
  float sum = 0.0F;
  for (int64_t e = 0; e < logits.shape[0]; ++e) {
    scores[e] = std::exp(logits[e] - largest);
    sum += scores[e];
  }
  for (int64_t e = 0; e < logits.shape[0]; ++e) scores[e] /= sum;
}

// The `count` largest values, largest first, the lower index first among equals. Marks them excluded.
void take_largest(Vec<float> values, int64_t count, int32_t* taken) {
  for (int64_t i = 0; i < count; ++i) {
    int64_t best = 0;
    for (int64_t e = 1; e < values.shape[0]; ++e) {
      if (values[e] > values[best]) best = e;
    }
    taken[i] = static_cast<int32_t>(best);
    values[best] = kExcluded;
  }
}

float group_score(const float* selection, int64_t size, bool two_largest) {
  float first = kExcluded, second = kExcluded;
  for (int64_t e = 0; e < size; ++e) {
    if (selection[e] > first) {
      second = first;
      first = selection[e];
    } else if (selection[e] > second) {
      second = selection[e];
    }
  }
  return two_largest ? first + second : first;
}

// Excludes all experts outside the top groups. -inf and not 0 (as one upstream copy has it): with a negative bias a
// refused expert's 0 could win (gate_test: RefusedGroupsNeverWin).
void keep_top_groups(const GateRule& rule, Vec<float> selection, Vec<float> group_scores, Vec<int32_t> kept) {
  const int64_t size = selection.shape[0] / rule.num_groups;
  for (int64_t g = 0; g < rule.num_groups; ++g) {
    group_scores[g] = group_score(&selection[g * size], size, rule.select == GateRule::Select::kBiasedGroups);
  }
  take_largest(group_scores, rule.top_groups, kept.data);
  for (int64_t g = 0; g < rule.num_groups; ++g) {
    const bool keep = std::find(kept.data, kept.data + rule.top_groups, g) != kept.data + rule.top_groups;
    if (!keep) std::fill_n(&selection[g * size], size, kExcluded);
  }
}

// A token's numbers on the way: its scores, those scores that still stand for selection, and the same of groups.
struct Choice {
  Vec<float> scores, selection, group_scores;
  Vec<int32_t> kept;
};

void choose(const GateRule& rule, Vec<const float> logits, Vec<const float> bias, const Choice& choice,
            Vec<int32_t> ids) {
  const int64_t experts = logits.shape[0];
  if (rule.score == GateRule::Score::kSoftmax) {
    softmax(logits, choice.scores);
  } else {
    for (int64_t e = 0; e < experts; ++e) choice.scores[e] = 1.0F / (1.0F + std::exp(-logits[e]));
  }
  const bool biased = rule.select == GateRule::Select::kBiasedGroups;
  for (int64_t e = 0; e < experts; ++e) {
    choice.selection[e] = biased ? choice.scores[e] + bias[e] : choice.scores[e];
  }
  if (rule.select != GateRule::Select::kGreedy && rule.num_groups > 1) {
    keep_top_groups(rule, choice.selection, choice.group_scores, choice.kept);
  }
  take_largest(choice.selection, rule.experts_per_token, ids.data);
}

void weigh(const GateRule& rule, Vec<const float> scores, Vec<const int32_t> ids, Vec<float> weights) {
  const int64_t count = rule.experts_per_token;
  float sum = 0.0F;
  for (int64_t i = 0; i < count; ++i) {
    weights[i] = scores[ids[i]];
    sum += weights[i];
  }
  const bool divide = rule.normalize && count > 1;
  const bool multiply = !divide || rule.select == GateRule::Select::kBiasedGroups;
  for (int64_t i = 0; i < count; ++i) {
    if (divide) weights[i] /= sum + 1e-20F;
    if (multiply) weights[i] *= static_cast<float>(rule.scaling);
  }
}

}  // namespace

void gate(Context& ctx, Mat<const float> logits, Vec<const float> bias, const GateRule& rule,
          Mat<int32_t> ids, Mat<float> weights) {
  const int64_t tokens = logits.shape[0], experts = logits.shape[1];
  HADAL_CHECK(experts % rule.num_groups == 0 && ids.shape[1] == rule.experts_per_token &&
                  (rule.select != GateRule::Select::kBiasedGroups || bias.shape[0] == experts),
              "gate: {} experts in {} groups, {} chosen, bias {}", experts, rule.num_groups, ids.shape[1],
              bias.shape[0]);
  const auto frame = ctx.scratch.frame();
  const auto scores = ctx.scratch.mat<float>(tokens, experts);
  const auto selection = ctx.scratch.mat<float>(tokens, experts);
  const auto group_scores = ctx.scratch.mat<float>(tokens, rule.num_groups);
  const auto kept = ctx.scratch.mat<int32_t>(tokens, rule.num_groups);
  parallel_for(ctx.pool, tokens, kTokensInPiece, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      choose(rule, logits[t], bias, {scores[t], selection[t], group_scores[t], kept[t]}, ids[t]);
      weigh(rule, scores[t], ids[t], weights[t]);
    }
  });
}

}  // namespace hadal::ops
