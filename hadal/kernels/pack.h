#pragma once

#include <cstdint>

#include "hadal/kernels/kernel_table.h"

namespace hadal::kernels {

inline int64_t num_blocks(int64_t k, int64_t block) {
  return (k + block - 1) / block;
}

/// Floats in a packed row: all blocks padded, the last one to its own length.
inline int64_t packed_width(int64_t k, int64_t block) {
  const int64_t full = (num_blocks(k, block) - 1) * block;
  return (num_blocks(k, block) - 1) * padded(block) + padded(k - full);
}

/// K elements in a block for this weight: where its scale changes, or kPlainBlock.
inline int64_t k_block(const Weight& w) {
  return w.scale ? w.block_cols : kPlainBlock;
}

}  // namespace hadal::kernels
