#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "hadal/core/view.h"
#include "hadal/ops/batch.h"

namespace hadal::ops {

/// The tokens of one sequence in a batch: rows of q and out (counted from one form's first row), positions, pages.
struct SequenceRows {
  int64_t first_row = 0, count = 0;
  std::span<const int32_t> positions;
  std::span<const int32_t> pages;
  int64_t num_keys() const { return int64_t{positions.back()} + 1; }
  int64_t slot(int64_t position, int64_t page_size) const {
    return pages[static_cast<size_t>(position / page_size)] * page_size + position % page_size;
  }
};

inline SequenceRows rows_of(const Batch& batch, int64_t sequence, int64_t row_offset) {
  const auto s = static_cast<size_t>(sequence);
  const int64_t begin = batch.seq_start[s], end = batch.seq_start[s + 1];
  return {begin - row_offset, end - begin,
          batch.positions.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
          batch.pages[s]};
}

/// How many keys of the chunk [first, first + count) a position may see: those at its own position or before.
inline int64_t visible_keys(int32_t position, int64_t first, int64_t count) {
  return std::clamp<int64_t>(position + 1 - first, 0, count);
}

}  // namespace hadal::ops
