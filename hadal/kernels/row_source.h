#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "hadal/core/weight.h"

namespace hadal::kernels {

/// Where a weight's rows are: what Weight knows, ready for loops that have no time to divide or to call.
struct RowSource {
  explicit RowSource(const Weight& w)
      : data(w.data),
        row_bytes(w.row_bytes()),
        columns(w.in_features),
        group_code(w.group_code ? w.group_code + w.first_row * w.group_cols() : nullptr),
        group_cols(w.group_cols()),
        group_shift(w.group > 0 ? std::countr_zero(static_cast<uint64_t>(w.group)) : 0) {}

  const std::byte* data;
  int64_t row_bytes, columns;
  const uint8_t* group_code;
  int64_t group_cols;
  int group_shift;
};

}  // namespace hadal::kernels
