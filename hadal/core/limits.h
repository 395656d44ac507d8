#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "hadal/core/thread_pool.h"
#include "hadal/core/weight.h"

namespace hadal {

/// Kinds of multiply-add, from the slowest to the fastest: FP32; BF16 products with FP32 sums; 8-bit integer products with
/// 32-bit sums.
enum class Unit : uint8_t { kF32, kBF16, kInt8 };
inline constexpr size_t kNumUnits = 3;
std::string_view to_string(Unit unit);

/// What a product with weights of the format can use: F32 and F16 in FP32; BF16 and F8_E4M3 in BF16; I8 and I4 in 8 bits.
Unit unit_of(Format format);

/// How fast a machine can be at best.
struct MachineLimits {
  double read_bytes_per_s = 0;  // from memory, by all threads together
  std::array<double, kNumUnits>
      op_per_s{};  // by Unit, by all threads together; a multiply-add is 2 operations

  double of(Unit unit) const { return op_per_s[static_cast<size_t>(unit)]; }
};

/// Measures, for about half a second: reading a buffer much larger than the caches, and for each unit the fastest
/// instruction that there is (AMX tiles, AVX-512, AVX2, plain C++), with all operands in registers.
MachineLimits measure_limits(ThreadPool& pool);

}  // namespace hadal
