#include <algorithm>
#include <cmath>
#include <cstring>

#include "hadal/core/dtype.h"
#include "hadal/kernels/ref.h"

namespace hadal::kernels::ref {
namespace {

// Calls body(source, length, destination) for each block and zeroes the destination's padding.
template <class Body>
void for_each_block(const float* x, int64_t k, int64_t block, float* packed, const Body& body) {
  for (int64_t begin = 0, b = 0; begin < k; begin += block, ++b) {
    const int64_t length = std::min(block, k - begin);
    float* out = packed + b * padded(block);
    body(x + begin, length, out, b);
    std::fill(out + length, out + padded(length), 0.0F);
  }
}

// The smallest power of two that is at least s > 0. From the exponent's bits: ceil(log2(s)) of the official code rounds
// its logarithm, and so falls short just above a power of two.
float power_of_two_from(float s) {
  if (std::isinf(s)) return s;  // an infinite activation becomes NaN, which someone notices
  int exponent = 0;
  const float fraction = std::frexp(s, &exponent);  // s = fraction * 2^exponent, fraction in [0.5, 1)
  return std::ldexp(1.0F, fraction == 0.5F ? exponent - 1 : exponent);
}

}  // namespace

void pack_f32(const float* x, int64_t k, int64_t block, float* packed) noexcept {
  for_each_block(x, k, block, packed, [](const float* in, int64_t length, float* out, int64_t /*b*/) {
    std::memcpy(out, in, static_cast<size_t>(length) * sizeof(float));
  });
}

void pack_bf16(const float* x, int64_t k, int64_t block, float* packed) noexcept {
  for_each_block(x, k, block, packed, [](const float* in, int64_t length, float* out, int64_t /*b*/) {
    for (int64_t i = 0; i < length; ++i) out[i] = round_to_bf16(in[i]);
  });
}

// kernel.py of the official repository: per token and block, s = max(|x|, 1e-4) / 448, code = e4m3(x / s).
void pack_f8(const float* x, int64_t k, int64_t block, bool ue8m0, float* packed, float* scale) noexcept {
  for_each_block(x, k, block, packed, [&](const float* in, int64_t length, float* out, int64_t b) {
    float largest = 1e-4F;
    for (int64_t i = 0; i < length; ++i) largest = std::max(largest, std::fabs(in[i]));
    float s = largest / 448.0F;
    if (ue8m0) s = power_of_two_from(s);
    for (int64_t i = 0; i < length; ++i) out[i] = to_float(to_f8e4m3(in[i] / s));
    scale[b] = s;
  });
}

void store_bf16(const float* x, int64_t n, std::byte* out) noexcept {
  for (int64_t i = 0; i < n; ++i) {
    const bf16 code = to_bf16(x[i]);
    std::memcpy(out + 2 * i, &code, sizeof code);
  }
}

}  // namespace hadal::kernels::ref
