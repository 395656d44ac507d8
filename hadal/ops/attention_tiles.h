#pragma once

#include "hadal/core/view.h"
#include "hadal/core/weight.h"
#include "hadal/ops/batch.h"
#include "hadal/ops/context.h"
#include "hadal/ops/latent_cache.h"

namespace hadal::ops {

/// Attention on a matrix unit (KernelTable::attend_tiles), with the contracts of attend_latent and attend_expanded in
/// ops/attention.h. Which of the two ways runs depends on the model, the precision and the machine only.

bool latent_suits_tiles(const Context& ctx, const LayerCache& cache, int64_t rank);
void attend_latent_tiles(Context& ctx, Cube<const float> q, LayerCache cache, const Batch& batch,
                         double scale, Cube<float> out);

bool expanded_suits_tiles(const Context& ctx, int64_t key_dim, int64_t value_dim);
void attend_expanded_tiles(Context& ctx, Cube<const float> q, LayerCache cache, const Weight& kv_b,
                           const Batch& batch, double scale, Cube<float> out);

}  // namespace hadal::ops
