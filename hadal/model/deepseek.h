#pragma once

#include <span>

#include "hadal/core/view.h"
#include "hadal/model/acts.h"
#include "hadal/model/model.h"
#include "hadal/ops/batch.h"
#include "hadal/ops/context.h"
#include "hadal/ops/latent_cache.h"

namespace hadal::model {

/// Layers [first_layer, last_layer) of the model on x: [T, hidden_size], in place. Layer 0 is preceded by the embedding
/// (x is only written then), the last one followed by the final norm (x is then what the head and an MTP module read).
/// caches: one per layer of the whole model, and one per MTP module after them. acts: null, or what to keep.
/// Throws kRequest for token ids out of range, kInternal when a layer gives NaN or infinity, with the layer's number.
void forward(ops::Context& ctx, const Model& model, const ops::Batch& batch,
             std::span<const ops::LayerCache> caches, int64_t first_layer, int64_t last_layer, Mat<float> x,
             Acts* acts);

/// Logits of the batch's logit_rows: out: [logit_rows, vocab_size], from x as forward() leaves it.
void head(ops::Context& ctx, const Model& model, const ops::Batch& batch, Mat<const float> x,
          Mat<float> logits);

}  // namespace hadal::model
