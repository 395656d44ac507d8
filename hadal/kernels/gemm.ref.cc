// The matrix products of the reference row. Weights are expanded to FP32 a strip of rows and a block of K at a time,
// into a buffer that stays in L1, and used from there for all rows of the activations.
#include <algorithm>
#include <cstring>
#include <utility>

#include "hadal/core/dtype.h"
#include "hadal/kernels/i4_table.h"
#include "hadal/kernels/lanes.h"
#include "hadal/kernels/ref.h"

namespace hadal::kernels::ref {
namespace {

constexpr int64_t kStrip = 8;          // weight rows expanded together
constexpr int64_t kMaxExpanded = 512;  // floats of a row in the buffer; longer blocks go through in pieces

// Dot products of one activation tile (kA rows) with one strip over `length` packed elements. Partial sums of a block
// that is longer than the buffer are carried in `sums`.
struct StripSums {
  float value[kStrip];
};

template <int kA>
void strip_dots(const float* a, int64_t lda, const float* expanded, int64_t rows, int64_t length,
                StripSums* sums) {
  int64_t j = 0;
  for (; j + 2 <= rows; j += 2) {
    float dots[kA][2];
    dot_tile<kA, 2>(a, lda, expanded + j * kMaxExpanded, kMaxExpanded, length, dots);
    for (int i = 0; i < kA; ++i) {
      sums[i].value[j] = dots[i][0];
      sums[i].value[j + 1] = dots[i][1];
    }
  }
  if (j < rows) {
    float dots[kA][1];
    dot_tile<kA, 1>(a, lda, expanded + j * kMaxExpanded, kMaxExpanded, length, dots);
    for (int i = 0; i < kA; ++i) sums[i].value[j] = dots[i][0];
  }
}

// c (+)= sums * scales for one activation row.
void add_scaled(const GemmArgs& args, int64_t row, int64_t strip, int64_t rows, int64_t block, bool first,
                const StripSums& sums) {
  float* c = args.c + row * args.ldc + strip;
  const int64_t num_blocks = (args.k + args.block - 1) / args.block;
  const float a_scale = args.a_scale ? args.a_scale[row * num_blocks + block] : 1.0F;
  for (int64_t j = 0; j < rows; ++j) {
    float value = sums.value[j];
    if (args.a_scale) value *= a_scale;
    if (args.w_scale) {
      value *= args.w_scale[(args.first_row + strip + j) / args.block_rows * args.w_scale_stride + block];
    }
    c[j] = first ? value : c[j] + value;
  }
}

using u8x16 = uint8_t __attribute__((vector_size(16)));
using u16x8 = uint16_t __attribute__((vector_size(16)));
using u32x4 = uint32_t __attribute__((vector_size(16)));
using i32x4 = int32_t __attribute__((vector_size(16)));

// Four codes of float8_e4m3fn, one in each lane. NaN codes are refused at load, so none is told apart here. A code whose
// exponent is 0 is converted as an integer: the shifted exponent of to_float() would make a denormal, which is slow.
inline f32x4 expand_4_f8(u32x4 codes) {
  const u32x4 magnitude = codes & 0x7fU, sign = (codes & 0x80U) << 24;
  const u32x4 normal = (magnitude << 20) + (120U << 23);  // rebias 7 -> 127
  const f32x4 subnormal = __builtin_convertvector(reinterpret_cast<i32x4>(magnitude), f32x4) * 0x1p-9F;
  const auto is_subnormal = reinterpret_cast<u32x4>(magnitude < 8U);
  const u32x4 value = (is_subnormal & reinterpret_cast<u32x4>(subnormal)) | (~is_subnormal & normal);
  return reinterpret_cast<f32x4>(value | sign);
}

// The loop that compilers leave scalar: bytes are widened by interleaving them with zeros.
inline void expand_16_f8(const uint8_t* codes, float* out) {
  u8x16 bytes;
  std::memcpy(&bytes, codes, sizeof bytes);
  const u8x16 zero{};
  const auto low = reinterpret_cast<u16x8>(
      __builtin_shufflevector(bytes, zero, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
  const auto high = reinterpret_cast<u16x8>(
      __builtin_shufflevector(bytes, zero, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31));
  const u16x8 none{};
  for (const auto& [half, to] : {std::pair{low, out}, std::pair{high, out + 8}}) {
    store4(to, expand_4_f8(
                   reinterpret_cast<u32x4>(__builtin_shufflevector(half, none, 0, 8, 1, 9, 2, 10, 3, 11))));
    store4(to + 4, expand_4_f8(reinterpret_cast<u32x4>(
                       __builtin_shufflevector(half, none, 4, 12, 5, 13, 6, 14, 7, 15))));
  }
}

}  // namespace

template <Format format>
void expand(const std::byte* w, int64_t n, float* out) noexcept {
  if constexpr (format == Format::kF32) {
    std::memcpy(out, w, static_cast<size_t>(n) * sizeof(float));
  } else if constexpr (format == Format::kBF16) {
    const auto* codes = reinterpret_cast<const bf16*>(w);
    for (int64_t i = 0; i < n; ++i) out[i] = to_float(codes[i]);
  } else if constexpr (format == Format::kF16) {
    const auto* codes = reinterpret_cast<const f16*>(w);
    for (int64_t i = 0; i < n; ++i) out[i] = to_float(codes[i]);
  } else if constexpr (format == Format::kI8) {
    const auto* codes = reinterpret_cast<const int8_t*>(w);
    for (int64_t i = 0; i < n; ++i) out[i] = codes[i];
  } else {
    const auto* codes = reinterpret_cast<const uint8_t*>(w);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) expand_16_f8(codes + i, out + i);
    for (; i < n; ++i) out[i] = to_float(f8e4m3{codes[i]});
  }
}

namespace {

// Columns [begin, begin + n) of row j of the weight as floats, without the scale.
template <Format format, class Args>
void expand_columns(const Args& args, int64_t cols, int64_t j, int64_t begin, int64_t n, float* out) {
  const std::byte* row = args.w + j * bytes_per_row(format, cols);
  if constexpr (format == Format::kI4) {
    const uint8_t* group_code = args.group_code + (args.first_row + j) * args.group_cols;
    for (int64_t k = begin; k < begin + n; ++k)
      out[k - begin] = i4_integer(row, k, group_code[k / args.group]);
  } else {
    expand<format>(row + begin * bytes_per_element(format), n, out);
  }
}

}  // namespace

template <Format format>
void gemm(const GemmArgs& args) noexcept {
  alignas(64) float expanded[kStrip * kMaxExpanded];
  const int64_t block_stride = padded(args.block);
  for (int64_t strip = 0; strip < args.n; strip += kStrip) {
    const int64_t rows = std::min(kStrip, args.n - strip);
    for (int64_t b = 0, begin = 0; begin < args.k; ++b, begin += args.block) {
      const int64_t block_end = std::min(begin + args.block, args.k);
      // A block longer than the buffer is added piece by piece; the pieces' borders are fixed, so the order is too.
      for (int64_t piece = begin; piece < block_end; piece += kMaxExpanded) {
        const int64_t length = std::min(kMaxExpanded, block_end - piece);
        for (int64_t j = 0; j < rows; ++j) {
          float* row = expanded + j * kMaxExpanded;
          expand_columns<format>(args, args.k, strip + j, piece, length, row);
          std::fill(row + length, row + padded(length), 0.0F);
        }
        const float* a = args.a + b * block_stride + (piece - begin);
        const bool first = piece == 0;
        int64_t i = 0;
        for (; i + 2 <= args.m; i += 2) {
          StripSums sums[2];
          strip_dots<2>(a + i * args.lda, args.lda, expanded, rows, padded(length), sums);
          add_scaled(args, i, strip, rows, b, first, sums[0]);
          add_scaled(args, i + 1, strip, rows, b, first, sums[1]);
        }
        if (i < args.m) {
          StripSums sums[1];
          strip_dots<1>(a + i * args.lda, args.lda, expanded, rows, padded(length), sums);
          add_scaled(args, i, strip, rows, b, first, sums[0]);
        }
      }
    }
  }
}

template <Format format>
void gemm_transposed(const GemmTransposedArgs& args) noexcept {
  alignas(64) float expanded[kMaxExpanded];
  for (int64_t i = 0; i < args.m; ++i) std::fill_n(args.c + i * args.ldc, args.cols, 0.0F);
  for (int64_t j = 0; j < args.rows; ++j) {
    const float* scales =
        args.w_scale ? args.w_scale + (args.first_row + j) / args.block_rows * args.w_scale_stride : nullptr;
    // A piece never crosses a border between two scales.
    for (int64_t begin = 0; begin < args.cols;) {
      int64_t end = std::min(begin + kMaxExpanded, args.cols);
      if (scales) end = std::min(end, (begin / args.block_cols + 1) * args.block_cols);
      expand_columns<format>(args, args.cols, j, begin, end - begin, expanded);
      const float scale = scales ? scales[begin / args.block_cols] : 1.0F;
      for (int64_t i = 0; i < args.m; ++i) {
        const float factor = args.a[i * args.lda + j] * scale;
        float* c = args.c + i * args.ldc + begin;
        for (int64_t r = 0; r < end - begin; ++r) c[r] += factor * expanded[r];
      }
      begin = end;
    }
  }
}

template void expand<Format::kF32>(const std::byte*, int64_t, float*) noexcept;
template void expand<Format::kBF16>(const std::byte*, int64_t, float*) noexcept;
template void expand<Format::kF16>(const std::byte*, int64_t, float*) noexcept;
template void expand<Format::kF8E4M3>(const std::byte*, int64_t, float*) noexcept;
template void expand<Format::kI8>(const std::byte*, int64_t, float*) noexcept;
template void gemm<Format::kF32>(const GemmArgs&) noexcept;
template void gemm<Format::kBF16>(const GemmArgs&) noexcept;
template void gemm<Format::kF16>(const GemmArgs&) noexcept;
template void gemm<Format::kF8E4M3>(const GemmArgs&) noexcept;
template void gemm<Format::kI8>(const GemmArgs&) noexcept;
template void gemm<Format::kI4>(const GemmArgs&) noexcept;
template void gemm_transposed<Format::kF32>(const GemmTransposedArgs&) noexcept;
template void gemm_transposed<Format::kBF16>(const GemmTransposedArgs&) noexcept;
template void gemm_transposed<Format::kF16>(const GemmTransposedArgs&) noexcept;
template void gemm_transposed<Format::kF8E4M3>(const GemmTransposedArgs&) noexcept;
template void gemm_transposed<Format::kI8>(const GemmTransposedArgs&) noexcept;
template void gemm_transposed<Format::kI4>(const GemmTransposedArgs&) noexcept;

}  // namespace hadal::kernels::ref
