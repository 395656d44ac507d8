#pragma once

#include "hadal/core/view.h"
#include "hadal/core/weight.h"
#include "hadal/ops/batch.h"
#include "hadal/ops/context.h"
#include "hadal/ops/latent_cache.h"

namespace hadal::ops {

/// Attention in the latent space, where all heads share keys (the whole latent row) and values (its first R numbers).
/// For the first num_decode_tokens() rows of the batch. q: [Td, H, R + P],
/// without gaps; out: [Td, H, R].
void attend_latent(Context& ctx, Cube<const float> q, LayerCache cache, const Batch& batch, double scale,
                   Cube<float> out);

/// Attention on per-head keys and values, which kv_b makes of the cached latents, chunk by chunk. For the rows after the
/// first num_decode_tokens(): q: [T - Td, H, N + P]; out: [T - Td, H, V]. kv_b: [H * (N + V), R].
/// Always reads the latents back from the cache, the batch's own too: so it is the same arithmetic for a prompt in one
/// piece and in many.
void attend_expanded(Context& ctx, Cube<const float> q, LayerCache cache, const Weight& kv_b,
                     const Batch& batch, double scale, Cube<float> out);

}  // namespace hadal::ops
