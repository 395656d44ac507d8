#pragma once

#include "hadal/core/view.h"
#include "hadal/ops/context.h"

namespace hadal::ops {

/// y = x / sqrt(mean(x^2) + eps) * weight over the last axis. x, y: [T, n]; weight: [n]. In place is allowed.
void rmsnorm(Context& ctx, Mat<const float> x, Vec<const float> weight, double eps, Mat<float> y);

}  // namespace hadal::ops
