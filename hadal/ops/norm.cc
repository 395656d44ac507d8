#include "hadal/ops/norm.h"

#include "hadal/kernels/kernel_table.h"

namespace hadal::ops {

void rmsnorm(Context& ctx, Mat<const float> x, Vec<const float> weight, double eps, Mat<float> y) {
  HADAL_CHECK(x.shape == y.shape && weight.shape[0] == x.shape[1], "rmsnorm: x {}, weight {}, y {}",
              to_string(x.shape), to_string(weight.shape), to_string(y.shape));
  parallel_for(ctx.pool, x.shape[0], 8, [&](int64_t begin, int64_t end) {
    kernels::kernels().rmsnorm(x[begin].data, x.stride[0], weight.data, y[begin].data, y.stride[0],
                               end - begin, x.shape[1], eps);
  });
}

}  // namespace hadal::ops
