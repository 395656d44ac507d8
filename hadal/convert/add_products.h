#pragma once

#include <algorithm>
#include <cstdint>

namespace hadal::convert {

/// c[j] += sum over t of a[t] * b[t * ldb + j] for j in [0, n), t in [0, count): the one inner loop of second moments, their
/// factors and compensated rounding. Every c[j] has its own sum in the order of t, so results do not depend on how a caller
/// splits n.
inline void add_products(const float* a, int64_t count, const float* b, int64_t ldb, int64_t n, float* c) {
  constexpr int64_t kLanes = 32;  // sums that stay in registers while t goes on
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    float sums[kLanes] = {};
    for (int64_t t = 0; t < count; ++t) {
      for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += a[t] * b[t * ldb + j + lane];
    }
    for (int64_t lane = 0; lane < kLanes; ++lane) c[j + lane] += sums[lane];
  }
  for (; j < n; ++j) {
    float sum = 0.0F;
    for (int64_t t = 0; t < count; ++t) sum += a[t] * b[t * ldb + j];
    c[j] += sum;
  }
}

}  // namespace hadal::convert
