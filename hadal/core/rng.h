#pragma once

#include <array>
#include <cstdint>

namespace hadal {

/// Philox4x32-10 (Salmon et al., SC 2011): random bits as a pure function of (key, counter), so that a draw depends
/// on what it is for and never on what was drawn before or beside it.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// Uniform in [0, 1) with 24 random bits: the draw of a request with `seed` at token `position`.
float uniform_at(uint64_t seed, uint64_t position);

/// Scrambles 64 bits (the end of splitmix64): random-looking numbers from a counter, fast, for test data and the like.
inline uint64_t mix64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

}  // namespace hadal
