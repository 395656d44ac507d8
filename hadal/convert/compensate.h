#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hadal/convert/moments.h"
#include "hadal/core/thread_pool.h"

namespace hadal::convert {

/// What a weight's codes may be: value = code * step, low <= code <= high; one entry for a column. A step of 0: only the
/// value 0.
struct Grid {
  std::vector<float> step, low, high;
  explicit Grid(int64_t cols)
      : step(static_cast<size_t>(cols)), low(static_cast<size_t>(cols)), high(static_cast<size_t>(cols)) {}
};

/// Rounds rows of weights so that their products with typical inputs change least, instead of the weights themselves: what
/// one column's rounding does to the product, the columns after it take back (GPTQ, arXiv 2210.17323).
/// Columns with the largest inputs come first.
class Compensation {
 public:
  /// Factors the moments, with a share of their mean diagonal added to it. Moments of no row at all, or all zero, give
  /// plain rounding.
  Compensation(const Moments& moments, ThreadPool& pool);

  /// Rounds `values`, grids.size() rows of width() numbers, to their grids: codes, as floats. On the calling thread.
  void round(std::span<const float> values, std::span<const Grid> grids, std::span<float> codes) const;

  int64_t width() const { return width_; }

 private:
  void factor(ThreadPool& pool);
  void round_block(int64_t first, int64_t end, const float* values, const Grid& grid, float* left,
                   float* codes, float* errors) const;

  int64_t width_;
  std::vector<int32_t> order_;  // column of position p; rounded from the last position to the first
  std::vector<float> factor_;   // [width, width]: row p holds the factor's columns 0 ... p
};

}  // namespace hadal::convert
