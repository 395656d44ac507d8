#pragma once

#include "hadal/core/view.h"
#include "hadal/model/acts.h"
#include "hadal/model/config.h"
#include "hadal/model/params.h"
#include "hadal/ops/batch.h"
#include "hadal/ops/context.h"
#include "hadal/ops/latent_cache.h"
#include "hadal/ops/rope.h"

namespace hadal::model {

/// One layer on the residual stream x: [T, hidden_size], in place:
///   x += attention(norm(x));  x += mlp or moe(norm(x)).
/// `layer` only names the layer in `acts` (null: nothing is kept). A layer has experts iff w.moe has a gate.
void decoder_layer(ops::Context& ctx, const LayerWeights& w, const ModelConfig& c, int64_t layer,
                   const ops::Batch& batch, const ops::RotaryAngles& angles, ops::LayerCache cache,
                   Mat<float> x, Acts* acts);

}  // namespace hadal::model
