#pragma once

#include "hadal/core/view.h"
#include "hadal/ops/context.h"

namespace hadal::ops {

/// x += y, both [T, n]: the residual stream.
void add(Context& ctx, Mat<const float> y, Mat<float> x);

}  // namespace hadal::ops
