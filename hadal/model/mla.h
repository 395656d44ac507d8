#pragma once

#include "hadal/core/view.h"
#include "hadal/model/config.h"
#include "hadal/model/params.h"
#include "hadal/ops/batch.h"
#include "hadal/ops/context.h"
#include "hadal/ops/latent_cache.h"
#include "hadal/ops/rope.h"

namespace hadal::model {

/// A layer's cache as this model needs it, still without memory.
inline ops::LayerCache layer_cache(const ModelConfig& c, Format format) {
  return {.format = format, .rank = c.kv_lora_rank, .rotary = c.qk_rope_head_dim};
}

/// Multi-head latent attention (V3 section 2.1.1) in its expanded form, for the batch's rows after the first
/// num_decode_tokens(): keys and values are made per head from the latents. x, y: [T, hidden_size], the whole batch's.
void mla_forward(ops::Context& ctx, const MlaWeights& w, const ModelConfig& c, const ops::Batch& batch,
                 const ops::RotaryAngles& angles, Mat<const float> x, ops::LayerCache cache, Mat<float> y);

/// The same in its absorbed form, for the first num_decode_tokens() rows: W^UK is folded into the query and W^UV into
/// the output, so that no per-head key is ever built (V2 section 2.1.2). Equal to mla_forward but for rounding.
void mla_decode(ops::Context& ctx, const MlaWeights& w, const ModelConfig& c, const ops::Batch& batch,
                const ops::RotaryAngles& angles, Mat<const float> x, ops::LayerCache cache, Mat<float> y);

}  // namespace hadal::model
