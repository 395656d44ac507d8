#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hadal::fuzz {

/// SplitMix64: the same numbers on every platform, so that an input can be made again from its number.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  /// In [0, bound); bound > 0. The bias of the remainder does not matter here.
  size_t below(size_t bound) { return static_cast<size_t>(next() % bound); }
  bool one_in(size_t n) { return below(n) == 0; }
  template <class T>
  const T& pick(const std::vector<T>& choices) {
    return choices[below(choices.size())];
  }

 private:
  uint64_t state_;
};

/// Decimal numbers at which parsers break: 0, +-1, around 2^31, 2^32, 2^53, 2^63, 2^64, fractions, exponents.
const std::vector<std::string>& boundary_numbers();

/// One random change that knows nothing of the format: a bit, a byte, a range removed, repeated or cut off, a token of
/// the dictionary inserted or written over, a decimal or binary number moved to a boundary.
void mutate(std::string& input, Random& random, const std::vector<std::string>& dictionary);

}  // namespace hadal::fuzz
