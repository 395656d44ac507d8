#include "hadal/ops/activation.h"

namespace hadal::ops {

void add(Context& ctx, Mat<const float> y, Mat<float> x) {
  HADAL_CHECK(x.shape == y.shape, "add: {} to {}", to_string(y.shape), to_string(x.shape));
  parallel_for(ctx.pool, x.shape[0], 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t i = 0; i < x.shape[1]; ++i) x[t].data[i] += y[t].data[i];
    }
  });
}

}  // namespace hadal::ops
