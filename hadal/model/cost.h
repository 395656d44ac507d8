#pragma once

#include <array>
#include <cstdint>

#include "hadal/core/limits.h"
#include "hadal/core/phase_timer.h"
#include "hadal/model/config.h"
#include "hadal/model/params.h"

namespace hadal::model {

/// What some computation has to read from memory, and how much it multiplies.
struct Work {
  double bytes = 0;
  std::array<double, kNumUnits> operations{};  // by Unit; a multiply-add is 2

  double total_operations() const;
  Work& operator+=(const Work& other);
};

/// By Phase. kSampling and kOther are empty: they take time, not bandwidth.
using StepWork = std::array<Work, kNumPhases>;
Work total(const StepWork& step);

/// The time that no program can beat on a machine with these limits: each phase takes as long as its reading or its
/// arithmetic, whichever is longer. Seconds.
double least_seconds(const StepWork& step, const MachineLimits& limits);

/// All maps with their scales, MTP modules and what copies they have of embedding and head included.
double weight_bytes(const ModelConfig& config, const Weights& weights);

/// Counts the work of a model's forward passes from its shapes and the formats of its weights; their numbers are not looked
/// at. Weights are read once in a step, latents once for each sequence. Left out, as they are thousandths: norms,
/// embedding rows, activations, softmax. Routers are taken to choose evenly.
class CostModel {
 public:
  /// cache: the format of the latents.
  CostModel(const ModelConfig& config, const Weights& weights, Format cache = Format::kBF16);

  /// A step in which each of `batch` sequences computes one token that sees `context` tokens, itself included.
  StepWork decode(int64_t batch, int64_t context) const;

  /// A step that computes `tokens` tokens of a prompt after `start` earlier ones; with the last one's logits or without.
  StepWork prefill(int64_t start, int64_t tokens, bool logits) const;

  /// Latents of one token in all layers.
  double cache_bytes_per_token() const;
  /// How many of a layer's routed experts are chosen by at least one of `tokens` tokens, on average.
  double distinct_experts(int64_t tokens) const;

 private:
  StepWork without_attention(int64_t tokens, int64_t logit_rows) const;

  ModelConfig config_;
  Format cache_;
  // Bytes of the maps, and operations for one token.
  Work dense_, kv_b_, head_;
  Work always_;  // shared experts and routers
  Work expert_;  // one routed expert of each layer that has any, added up
};

}  // namespace hadal::model
