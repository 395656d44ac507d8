#pragma once

#include "hadal/core/view.h"
#include "hadal/ops/context.h"

namespace hadal::ops {

/// y = silu(gate) * up, all [T, n]. y may be gate or up.
void swiglu(Context& ctx, Mat<const float> gate, Mat<const float> up, Mat<float> y);

/// x += y, both [T, n]: the residual stream.
void add(Context& ctx, Mat<const float> y, Mat<float> x);

}  // namespace hadal::ops
