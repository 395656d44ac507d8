#pragma once

// What the benchmarks multiply: V2-Lite's and V3's shapes, and random bytes for weights of any format.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>

#include <sys/mman.h>

namespace hadal::bench {

struct Shape {
  const char* name;
  int64_t n, k;
};
inline constexpr Shape kShapes[] = {
    {"v2_lite_expert_up", 1408, 2048}, {"v2_lite_expert_down", 2048, 1408}, {"v3_expert_up", 2048, 7168}};

/// Random bytes in huge pages, made once: as codes of any format they are ordinary numbers, without NaN or infinity.
inline constexpr int64_t kPool = int64_t{512} << 20;
inline const std::byte* pool_bytes() {
  static const std::byte* const bytes = [] {
    void* at =
        mmap(nullptr, static_cast<size_t>(kPool), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(at, static_cast<size_t>(kPool), MADV_HUGEPAGE);
    std::mt19937_64 random(1);
    for (int64_t i = 0; i < kPool; i += 8) {
      // BF16 below 2, FP8 below 2, and no FP8 code with exponent 0: trained weights have hardly any.
      const uint64_t value = (random() & 0xbf3fbf3fbf3fbf3f) | 0x1010101010101010;
      std::memcpy(static_cast<std::byte*>(at) + i, &value, sizeof value);
    }
    return static_cast<const std::byte*>(at);
  }();
  return bytes;
}

}  // namespace hadal::bench
