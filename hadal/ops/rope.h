#pragma once

#include <span>

#include "hadal/core/view.h"
#include "hadal/ops/context.h"

namespace hadal::ops {

/// Cosines and sines of a step's positions, [T, pairs] each, made once and used by every layer.
struct RotaryAngles {
  Mat<float> cosine, sine;
};

/// angle[t, i] = positions[t] * inv_freq[i], in FP32 as the official code has it; both functions times `magnitude`.
/// The result lives in ctx.scratch.
RotaryAngles rotary_angles(Context& ctx, std::span<const int32_t> positions, std::span<const float> inv_freq,
                           float magnitude);

/// Rotates the interleaved pairs of x: [T, H, 2 * pairs], in place; rows [first, first + T) of the angles.
void rope(Context& ctx, const RotaryAngles& angles, int64_t first, Cube<float> x);

}  // namespace hadal::ops
