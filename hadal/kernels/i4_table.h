#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "hadal/core/weight.h"

namespace hadal::kernels {

/// For each group code of INT4 (s | z << 4, core/weight.h) the sixteen 8-bit integers (code - z) * s that its 4-bit codes
/// stand for: one byte shuffle turns codes into integers. Group codes whose products leave 8 bits are refused at load.
using I4Table = std::array<std::array<int8_t, 16>, 256>;

inline constexpr I4Table make_i4_table(int offset) {
  I4Table table{};
  for (int group = 0; group < 256; ++group) {
    const int s = group & 15, z = group >> 4;
    for (int code = 0; code < 16; ++code) {
      table[static_cast<size_t>(group)][static_cast<size_t>(code)] =
          static_cast<int8_t>(static_cast<uint8_t>((code - z) * s + offset));
    }
  }
  return table;
}

alignas(64) inline constexpr I4Table kI4Table = make_i4_table(0);
/// The same plus 128, as unsigned bytes: what an instruction that multiplies unsigned by signed bytes takes.
alignas(64) inline constexpr I4Table kI4TablePlus128 = make_i4_table(128);

/// Column k of a row of INT4, one integer at a time.
inline int8_t i4_integer(const std::byte* row, int64_t k, uint8_t group_code) {
  const auto pair = static_cast<uint8_t>(row[k / kI4Block * (kI4Block / 2) + k % (kI4Block / 2)]);
  const int code = k % kI4Block < kI4Block / 2 ? pair & 15 : pair >> 4;
  return kI4Table[group_code][static_cast<size_t>(code)];
}

}  // namespace hadal::kernels
