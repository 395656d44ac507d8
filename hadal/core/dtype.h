#pragma once

#include <bit>
#include <cstdint>

namespace hadal {

/// bfloat16: the upper half of an IEEE float32. Our own 2-byte struct, because GCC 12 has no __bf16 in C++.
struct bf16 {  // NOLINT(readability-identifier-naming): written like float
  uint16_t bits;
};

/// float8_e4m3fn: 1 sign, 4 exponent (bias 7), 3 mantissa bits; largest 448, no infinity, NaN = 0x7F and 0xFF.
struct f8e4m3 {  // NOLINT(readability-identifier-naming): written like float
  uint8_t bits;
};

/// IEEE binary16, for checkpoints that were stored so.
struct f16 {  // NOLINT(readability-identifier-naming): written like float
  uint16_t bits;
};

inline float to_float(bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

/// Round to nearest even. NaN stays NaN; a float beyond the largest bf16 becomes infinity.
inline bf16 to_bf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return {static_cast<uint16_t>((bits >> 16) | 0x40U)};
  return {static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16)};
}

/// The float32 nearest to x that a bf16 can hold.
inline float round_to_bf16(float x) {
  return to_float(to_bf16(x));
}

/// Exact for all codes. The exponent field lands 120 too low in a float32 and one multiplication by a power of
/// two mends it, subnormals included; only the two NaN codes need a second look.
inline float to_float(f8e4m3 x) {
  const auto magnitude = std::bit_cast<float>(static_cast<uint32_t>(x.bits & 0x7fU) << 20) * 0x1p120F;
  const auto sign = static_cast<uint32_t>(x.bits & 0x80U) << 24;
  if ((x.bits & 0x7fU) == 0x7fU) return std::bit_cast<float>(0x7fc00000U | sign);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
}

/// Round to nearest even; |x| above 448 saturates to 448 (the callers scale so that it does not happen). NaN: 0x7F.
f8e4m3 to_f8e4m3(float x);

float to_float(f16 x);

}  // namespace hadal
