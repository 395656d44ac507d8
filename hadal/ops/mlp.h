#pragma once

#include <cstdint>
#include <span>

#include "hadal/core/view.h"
#include "hadal/core/weight.h"
#include "hadal/ops/context.h"

namespace hadal::ops {

/// One SwiGLU MLP and the rows of x that go through it: y[i] = down(silu(gate x[rows[i]]) * up x[rows[i]]).
struct MlpTask {
  const Weight* gate = nullptr;
  const Weight* up = nullptr;
  const Weight* down = nullptr;
  std::span<const int32_t> rows;
  Mat<float> y;  // [rows, down's out_features]
};

/// All tasks together, so that many small experts fill the threads as one large MLP does: V3 eqs. 12-13 without the sum.
void grouped_mlp(Context& ctx, Mat<const float> x, std::span<const MlpTask> tasks);

}  // namespace hadal::ops
