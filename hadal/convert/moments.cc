#include "hadal/convert/moments.h"

#include <algorithm>

#include "hadal/convert/add_products.h"
#include "hadal/core/error.h"

namespace hadal::convert {

void Moments::add(Mat<const float> x, const std::span<const int32_t>* rows, ThreadPool& pool) {
  constexpr int64_t kRows = 64, kColumns = 32;  // rows summed at a time; columns in a piece of work
  HADAL_CHECK(x.shape[1] == width_, "{} inputs for moments of {}", x.shape[1], width_);
  const int64_t total = rows ? static_cast<int64_t>(rows->size()) : x.shape[0];
  std::vector<float> block(static_cast<size_t>(kRows * width_));
  for (int64_t first = 0; first < total; first += kRows) {
    const int64_t count = std::min(kRows, total - first);
    for (int64_t t = 0; t < count; ++t) {
      const int64_t row = rows ? (*rows)[static_cast<size_t>(first + t)] : first + t;
      std::copy_n(x[row].data, width_, block.data() + t * width_);
    }
    parallel_for(pool, width_, kColumns, [&](int64_t begin, int64_t end) {
      float column[kRows];
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t t = 0; t < count; ++t) column[t] = block[static_cast<size_t>(t * width_ + i)];
        add_products(column, count, block.data(), width_, i + 1, sum_.data() + i * width_);
      }
    });
  }
}

}  // namespace hadal::convert
