#include "hadal/ops/rope.h"

#include <cmath>

#include "hadal/kernels/kernel_table.h"

namespace hadal::ops {

RotaryAngles rotary_angles(Context& ctx, std::span<const int32_t> positions, std::span<const float> inv_freq,
                           float magnitude) {
  const auto tokens = static_cast<int64_t>(positions.size()), pairs = static_cast<int64_t>(inv_freq.size());
  const RotaryAngles angles{ctx.scratch.mat<float>(tokens, pairs), ctx.scratch.mat<float>(tokens, pairs)};
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < pairs; ++i) {
      const float angle =
          static_cast<float>(positions[static_cast<size_t>(t)]) * inv_freq[static_cast<size_t>(i)];
      angles.cosine[t][i] = static_cast<float>(std::cos(double{angle})) * magnitude;
      angles.sine[t][i] = static_cast<float>(std::sin(double{angle})) * magnitude;
    }
  }
  return angles;
}

void rope(Context& ctx, const RotaryAngles& angles, int64_t first, Cube<float> x) {
  const int64_t pairs = angles.cosine.shape[1];
  HADAL_CHECK(x.shape[2] == 2 * pairs && first + x.shape[0] <= angles.cosine.shape[0],
              "rope: x {}, angles {}", to_string(x.shape), to_string(angles.cosine.shape));
  parallel_for(ctx.pool, x.shape[0], 8, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      kernels::kernels().rope(x[t].data, x.stride[1], x.shape[1], pairs, angles.cosine[first + t].data,
                              angles.sine[first + t].data);
    }
  });
}

}  // namespace hadal::ops
