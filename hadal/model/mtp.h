#pragma once

#include <span>

#include "hadal/core/view.h"
#include "hadal/model/acts.h"
#include "hadal/model/model.h"
#include "hadal/ops/batch.h"
#include "hadal/ops/context.h"
#include "hadal/ops/latent_cache.h"

namespace hadal::model {

/// Multi-token-prediction module `index` (V3 section 2.2). Row i of the batch is the pair of a position's hidden state and
/// the token after it: hidden[i] is the main model's state *after* its final norm at position p, batch.tokens[i] the token
/// at p + 1, batch.positions[i] = p. The module has a cache of its own. state: [T, hidden_size] receives what its head
/// reads (and a further module would); logits: [logit_rows, vocab_size] are those of the token at p + 2.
void mtp_forward(ops::Context& ctx, const Model& model, int64_t index, const ops::Batch& batch,
                 ops::LayerCache cache, Mat<const float> hidden, Mat<float> state, Mat<float> logits,
                 Acts* acts);

}  // namespace hadal::model
