#include "hadal/ops/activation.h"

#include "hadal/kernels/kernel_table.h"

namespace hadal::ops {

void swiglu(Context& ctx, Mat<const float> gate, Mat<const float> up, Mat<float> y) {
  HADAL_CHECK(gate.shape == up.shape && gate.shape == y.shape, "swiglu: gate {}, up {}, y {}",
              to_string(gate.shape), to_string(up.shape), to_string(y.shape));
  parallel_for(ctx.pool, y.shape[0], 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      kernels::kernels().swiglu(gate[t].data, up[t].data, y[t].data, y.shape[1]);
  });
}

void add(Context& ctx, Mat<const float> y, Mat<float> x) {
  HADAL_CHECK(x.shape == y.shape, "add: {} to {}", to_string(y.shape), to_string(x.shape));
  parallel_for(ctx.pool, x.shape[0], 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t i = 0; i < x.shape[1]; ++i) x[t].data[i] += y[t].data[i];
    }
  });
}

}  // namespace hadal::ops
