#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

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

/// KernelTable::store_f8's factor, from the bits of the largest |x|.
inline float f8_scale(uint32_t largest) {
  if (largest >= 0x7f800000U) return std::numeric_limits<float>::quiet_NaN();
  // 448 is 1.75 * 2^8: a larger fraction takes the next power of two. 10 is the exponent of 2^-117.
  const uint32_t exponent = (largest + 0x1fffffU) >> 23;
  return std::bit_cast<float>((std::max(exponent, 18U) - 8) << 23);
}

}  // namespace hadal::kernels
