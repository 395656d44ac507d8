#pragma once

#include <cmath>
#include <cstdint>

#include "hadal/core/dtype.h"

namespace hadal {

/// The number that a binary floating-point code stands for, by definition and in double:
/// (-1)^sign * 2^(exponent - bias) * (1 + mantissa / 2^mantissa_bits), and below the smallest exponent without the 1.
/// Codes for infinity and NaN are the caller's business.
inline double decode(uint32_t code, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const auto exponent = static_cast<int>((code >> mantissa_bits) & ((1U << exponent_bits) - 1U));
  const double fraction = std::ldexp(code & ((1U << mantissa_bits) - 1U), -mantissa_bits);
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1.0 + fraction, exponent - bias);
  return (code >> (exponent_bits + mantissa_bits)) != 0 ? -magnitude : magnitude;
}

inline double exact_value(bf16 x) {
  return decode(x.bits, 8, 7);
}
inline double exact_value(f16 x) {
  return decode(x.bits, 5, 10);
}
inline double exact_value(f8e4m3 x) {
  return decode(x.bits, 4, 3);
}

/// The E4M3 code whose value is nearest to x, the even one of two that are equally near: by looking at all of them.
inline f8e4m3 nearest_f8e4m3(float x) {
  const double magnitude = std::fabs(double{x});
  uint8_t best = 0;
  double best_distance = magnitude;
  for (uint8_t code = 1; code <= 0x7e; ++code) {
    const double distance = std::fabs(exact_value(f8e4m3{code}) - magnitude);
    if (distance < best_distance || (distance == best_distance && code % 2 == 0)) {
      best = code;
      best_distance = distance;
    }
  }
  return {static_cast<uint8_t>(best | (std::signbit(x) ? 0x80 : 0))};
}

}  // namespace hadal
