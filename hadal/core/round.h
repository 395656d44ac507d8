#pragma once

#include <cstdint>

namespace hadal {

/// a / b, rounded up. a >= 0, b > 0.
constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// The first multiple of `to` that is no less than n. n >= 0, to > 0.
constexpr int64_t round_up(int64_t n, int64_t to) {
  return ceil_div(n, to) * to;
}

}  // namespace hadal
