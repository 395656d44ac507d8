// Products of 8-bit activations with integer weights: the definition that every other row equals bit by bit.
#include <algorithm>
#include <bit>
#include <limits>

#include "hadal/kernels/i4_table.h"
#include "hadal/kernels/ref.h"

namespace hadal::kernels::ref {
namespace {

constexpr int64_t kPiece = 512;  // columns of a weight's row that are integers at a time

template <Format format>
void integers(const ProductArgs& args, int64_t row, int64_t begin, int64_t n, int8_t* out) {
  const Weight& w = args.w;
  const std::byte* codes = w.data + row * w.row_bytes();
  if constexpr (format == Format::kI8) {
    std::copy_n(reinterpret_cast<const int8_t*>(codes) + begin, n, out);
  } else {
    const uint8_t* group_code = w.group_code + (w.first_row + row) * w.group_cols();
    for (int64_t k = begin; k < begin + n; ++k)
      out[k - begin] = i4_integer(codes, k, group_code[k / w.group]);
  }
}

int32_t dot(const int8_t* a, const int8_t* w, int64_t n) {
  int32_t sum = 0;
  for (int64_t k = 0; k < n; ++k) sum += int32_t{a[k]} * int32_t{w[k]};
  return sum;
}

// max|x|, or NaN for a row with an infinity or a NaN, which no code can express. Compared as integers, which order
// magnitudes as floats do and put infinity and NaN on top.
float largest_of(const float* x, int64_t n) {
  constexpr uint32_t kMagnitude = 0x7fffffff, kInfinity = 0x7f800000;
  uint32_t largest = 0;
  for (int64_t k = 0; k < n; ++k) largest = std::max(largest, std::bit_cast<uint32_t>(x[k]) & kMagnitude);
  return largest < kInfinity ? std::bit_cast<float>(largest) : std::numeric_limits<float>::quiet_NaN();
}

}  // namespace

int64_t i8_row_bytes(int64_t k) noexcept {
  return (k + 63) / 64 * 64;
}

void pack_i8(const PackArgs& args) noexcept {
  const int64_t row_bytes = i8_row_bytes(args.k);
  for (int64_t i = 0; i < args.m; ++i) {
    const float* x = args.x + (args.rows ? args.rows[i] : i) * args.ldx;
    auto* codes = reinterpret_cast<int8_t*>(args.packed) + i * row_bytes;
    const float largest = largest_of(x, args.k);
    // Below this, 127 / largest overflows; such a row is zero for every purpose. NaN: the scale says it all.
    const float inverse = largest >= 1e-30F ? 127.0F / largest : 0.0F;
    const int64_t coded = inverse > 0.0F ? args.k : 0;
    int32_t sum = 0;
    for (int64_t k = 0; k < coded; ++k) {
      // To nearest even: at this size a float has no fraction left. A call to nearbyint would not be vectorised.
      constexpr float kNoFraction = 0x1.8p23F;
      codes[k] = static_cast<int8_t>(x[k] * inverse + kNoFraction - kNoFraction);
      sum += codes[k];
    }
    std::fill(codes + coded, codes + row_bytes, int8_t{0});
    args.scale[i] = largest / 127.0F;
    args.sum[i] = sum;
  }
}

template <Format format>
void gemm_i8(const ProductArgs& args) noexcept {
  const Weight& w = args.w;
  const int64_t k = w.in_features, row_bytes = i8_row_bytes(k);
  const auto* a = reinterpret_cast<const int8_t*>(args.a);
  for (int64_t j = 0; j < args.n; ++j) {
    const float* scale = w.scale + (w.first_row + args.first_n + j) * w.scale_cols();
    for (int64_t i = 0; i < args.m; ++i) args.c[i * args.ldc + j] = 0.0F;
    for (int64_t b = 0, begin = 0; begin < k; ++b, begin += w.block_cols) {
      const int64_t end = std::min(begin + w.block_cols, k);
      for (int64_t i = 0; i < args.m; ++i) {
        int32_t sum = 0;
        for (int64_t piece = begin; piece < end; piece += kPiece) {
          int8_t integer[kPiece];
          const int64_t n = std::min(kPiece, end - piece);
          integers<format>(args, args.first_n + j, piece, n, integer);
          sum += dot(a + i * row_bytes + piece, integer, n);
        }
        args.c[i * args.ldc + j] += static_cast<float>(sum) * scale[b];
      }
    }
    for (int64_t i = 0; i < args.m; ++i) args.c[i * args.ldc + j] *= args.a_scale[i];
  }
}

template void gemm_i8<Format::kI8>(const ProductArgs&) noexcept;
template void gemm_i8<Format::kI4>(const ProductArgs&) noexcept;

}  // namespace hadal::kernels::ref
