// The FP8 latent cache: codes with one power of two for all of a token. So a code's value is exact as FP32 and as BF16, and
// whoever reads the cache, in whatever precision, reads the same numbers.
#include <algorithm>
#include <bit>
#include <cstring>

#include "hadal/core/dtype.h"
#include "hadal/kernels/pack.h"
#include "hadal/kernels/ref.h"

namespace hadal::kernels::ref {

float store_f8(const float* x, int64_t n, std::byte* codes) noexcept {
  uint32_t largest = 0;  // as bits: larger for larger numbers, and largest of all for NaN
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::bit_cast<uint32_t>(x[i]) & 0x7fffffffU);
  const float scale = f8_scale(largest), inverse = 1.0F / scale;  // both powers of two
  for (int64_t i = 0; i < n; ++i) {
    const f8e4m3 code = to_f8e4m3(x[i] * inverse);
    std::memcpy(codes + i, &code, sizeof code);
  }
  return scale;
}

void f8_to_bf16(const std::byte* codes, int64_t n, float scale, std::byte* out) noexcept {
  constexpr int64_t kPiece = 64;
  float values[kPiece];
  for (int64_t i = 0; i < n; i += kPiece) {
    const int64_t count = std::min(kPiece, n - i);
    expand<Format::kF8E4M3>(codes + i, count, values);
    for (int64_t k = 0; k < count; ++k) values[k] *= scale;
    store_bf16(values, count, out + 2 * i);
  }
}

}  // namespace hadal::kernels::ref
