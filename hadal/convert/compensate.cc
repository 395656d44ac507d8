#include "hadal/convert/compensate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "hadal/convert/add_products.h"
#include "hadal/core/error.h"

namespace hadal::convert {
namespace {

constexpr int64_t kBlock = 64;  // positions whose effect on the others is added up at a time
constexpr int64_t kStrip =
    512;  // of those others: 128 KB of the factor, which stays in the cache for all rows
constexpr double kDamping =
    0.1;  // of the mean diagonal: ten times GPTQ's, for texts of a few thousand tokens (docs/log.md)

}  // namespace

Compensation::Compensation(const Moments& moments, ThreadPool& pool)
    : width_(moments.width()),
      order_(static_cast<size_t>(width_)),
      factor_(static_cast<size_t>(width_ * width_)) {
  double trace = 0.0;
  for (int64_t i = 0; i < width_; ++i) trace += moments.at(i, i);
  const double damping = trace > 0.0 ? kDamping * trace / static_cast<double>(width_) : 1.0;
  std::iota(order_.begin(), order_.end(), 0);
  std::ranges::stable_sort(order_, std::less<>(), [&](int32_t i) { return moments.at(i, i); });
  parallel_for(pool, width_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      float* row = factor_.data() + p * width_;
      for (int64_t q = 0; q <= p; ++q)
        row[q] = moments.at(order_[static_cast<size_t>(p)], order_[static_cast<size_t>(q)]);
      row[p] += static_cast<float>(damping);
    }
  });
  factor(pool);
}

// Cholesky, a block of columns at a time: the block's own rows, all rows below it, and what is left to the right.
void Compensation::factor(ThreadPool& pool) {
  std::vector<float> transposed(static_cast<size_t>(kBlock * width_));  // minus the block's columns, as rows
  for (int64_t first = 0; first < width_; first += kBlock) {
    const int64_t count = std::min(kBlock, width_ - first);
    const auto solve_row = [&](int64_t p) {
      float* row = factor_.data() + p * width_ + first;
      for (int64_t j = 0; j < std::min(count, p - first + 1); ++j) {
        const float* other = factor_.data() + (first + j) * width_ + first;
        double sum = row[j];
        for (int64_t t = 0; t < j; ++t) sum -= static_cast<double>(row[t]) * other[t];
        // Damping keeps this far above 0 but for rounding; a tiny pivot would let one column blow up all others.
        row[j] =
            static_cast<float>(first + j == p ? std::sqrt(std::max(sum, 1e-6 * row[j])) : sum / other[j]);
      }
    };
    for (int64_t p = first; p < first + count; ++p) solve_row(p);
    const int64_t rest = first + count;
    parallel_for(pool, width_ - rest, 16, [&](int64_t begin, int64_t end) {
      for (int64_t p = rest + begin; p < rest + end; ++p) {
        solve_row(p);
        for (int64_t t = 0; t < count; ++t)
          transposed[static_cast<size_t>(t * width_ + p)] =
              -factor_[static_cast<size_t>(p * width_ + first + t)];
      }
    });
    parallel_for(pool, width_ - rest, 16, [&](int64_t begin, int64_t end) {
      for (int64_t p = rest + begin; p < rest + end; ++p) {
        float* row = factor_.data() + p * width_;
        add_products(row + first, count, transposed.data() + rest, width_, p - rest + 1, row + rest);
      }
    });
  }
}

// With the moments L L^T and d what rounding takes off a row's weights, the product's squared error is |d L|^2, whose entry q
// is the sum over p >= q of d[p] L[p][q]. So position q, rounded after all p > q, gets what they left over, divided by its
// pivot: GPTQ, as Babai's nearest plane.
void Compensation::round(std::span<const float> values, std::span<const Grid> grids,
                         std::span<float> codes) const {
  const auto rows = static_cast<int64_t>(grids.size());
  HADAL_CHECK(values.size() == static_cast<size_t>(rows * width_) && codes.size() == values.size(),
              "{} weights and {} codes for {} rows of {}", values.size(), codes.size(), rows, width_);
  std::vector<float> left(values.size()), errors(static_cast<size_t>(rows * kBlock));
  for (int64_t end = width_; end > 0; end -= std::min(kBlock, end)) {
    const int64_t first = std::max<int64_t>(0, end - kBlock);
    for (int64_t r = 0; r < rows; ++r) {
      const auto at = static_cast<size_t>(r * width_);
      round_block(first, end, values.data() + at, grids[static_cast<size_t>(r)], left.data() + at,
                  codes.data() + at, errors.data() + r * kBlock);
    }
    for (int64_t q = 0; q < first; q += kStrip) {
      for (int64_t r = 0; r < rows; ++r) {
        add_products(errors.data() + r * kBlock, end - first, factor_.data() + first * width_ + q, width_,
                     std::min(kStrip, first - q), left.data() + r * width_ + q);
      }
    }
  }
}

// Positions [first, end) of one row, last first; errors[p - first] is what was taken off.
void Compensation::round_block(int64_t first, int64_t end, const float* values, const Grid& grid, float* left,
                               float* codes, float* errors) const {
  for (int64_t p = end - 1; p >= first; --p) {
    const float* factor_row = factor_.data() + p * width_;
    const auto k = static_cast<size_t>(order_[static_cast<size_t>(p)]);
    const float wanted = values[k] + left[p] / factor_row[p], step = grid.step[k];
    codes[k] = step > 0.0F ? std::nearbyint(std::clamp(wanted / step, grid.low[k], grid.high[k])) : 0.0F;
    const float error = values[k] - codes[k] * step;
    errors[p - first] = error;
    for (int64_t q = first; q < p; ++q) left[q] += error * factor_row[q];
  }
}

}  // namespace hadal::convert
