#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hadal/core/thread_pool.h"
#include "hadal/core/view.h"

namespace hadal::convert {

/// Second moments of a linear map's inputs: sum over rows of x x^T, of which the lower half is kept.
class Moments {
 public:
  explicit Moments(int64_t width) : width_(width), sum_(static_cast<size_t>(width * width)) {}

  /// Adds rows rows[0], rows[1], ... of x: [T, width], or all of them if `rows` is null. The sums depend on the rows and
  /// their order, and not on the threads.
  void add(Mat<const float> x, const std::span<const int32_t>* rows, ThreadPool& pool);

  int64_t width() const { return width_; }
  float at(int64_t i, int64_t j) const {
    return sum_[static_cast<size_t>(i >= j ? i * width_ + j : j * width_ + i)];
  }

  /// Bytes of the moments of maps with so many inputs.
  static int64_t bytes(int64_t width) { return width * width * static_cast<int64_t>(sizeof(float)); }

 private:
  int64_t width_;
  std::vector<float> sum_;  // [width, width]; row i holds columns 0 ... i
};

}  // namespace hadal::convert
