#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace hadal {

/// Numbers for tests: the same on every machine, because they come from the engine's bits and not through the
/// standard library's distributions.
class TestRandom {
 public:
  explicit TestRandom(uint32_t seed) : bits_(seed) {}

  uint32_t bits() { return static_cast<uint32_t>(bits_()); }
  /// An integer in [0, n).
  int64_t below(int64_t n) { return static_cast<int64_t>(bits_() % static_cast<uint64_t>(n)); }
  float uniform(float low, float high) {
    return low + (high - low) * (static_cast<float>(bits() >> 8) * 0x1p-24F);
  }
  std::vector<float> uniform_vector(int64_t n, float low, float high) {
    std::vector<float> values(static_cast<size_t>(n));
    for (float& value : values) value = uniform(low, high);
    return values;
  }

 private:
  std::mt19937 bits_;
};

}  // namespace hadal
