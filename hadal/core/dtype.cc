#include "hadal/core/dtype.h"

#include <cmath>

namespace hadal {

f8e4m3 to_f8e4m3(float x) {
  const auto sign = static_cast<uint8_t>(std::signbit(x) ? 0x80U : 0U);
  const float magnitude = std::fabs(x);
  if (std::isnan(x)) return {static_cast<uint8_t>(0x7fU | sign)};
  if (magnitude >= 448.0F) return {static_cast<uint8_t>(0x7eU | sign)};
  // Below 2^-6 the codes are multiples of 2^-9 (subnormal); adding a power of two whose last bit weighs as much
  // as ours rounds to nearest even in hardware.
  if (magnitude < 0x1p-6F) {
    const float steps = std::nearbyint(magnitude * 0x1p9F);
    return {static_cast<uint8_t>(static_cast<uint32_t>(steps) | sign)};
  }
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = bits + 0x7ffffU + ((bits >> 20) & 1U);  // 20 mantissa bits go, nearest even
  const uint32_t code = (rounded >> 20) - (120U << 3);             // rebias 127 -> 7
  return {static_cast<uint8_t>((code > 0x7eU ? 0x7eU : code) | sign)};
}

float to_float(f16 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000U) << 16;
  const uint32_t rest = x.bits & 0x7fffU;
  if (rest >= 0x7c00U) {  // infinity, NaN
    return std::bit_cast<float>(sign | 0x7f800000U | ((rest & 0x3ffU) << 13));
  }
  const float magnitude = std::bit_cast<float>(rest << 13) * 0x1p112F;  // as in to_float(f8e4m3)
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

}  // namespace hadal
