#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "hadal/core/weight.h"

namespace hadal::kernels {

/// Rows of packed activations are cut into blocks along K, each padded with zeros to a multiple of kLanes floats, so
/// that no kernel has a tail to treat. Unscaled weights use blocks of kPlainBlock.
inline constexpr int64_t kLanes = 8;
inline constexpr int64_t kPlainBlock = 512;  // 8 rows of weights, expanded, are 16 KiB: half of a small L1

inline int64_t padded(int64_t n) {
  return (n + kLanes - 1) / kLanes * kLanes;
}

/// c[i, j] = sum over blocks b, in ascending order, of dot_b(a[i], w[j]) * a_scale[i, b] * w_scale[j, b]
///
/// A dot product keeps kLanes partial sums (element k of the block goes to lane k mod kLanes, ascending) and adds them
/// up as a fixed tree. That order does not depend on m, n or on which part of them a call computes.
struct GemmArgs {
  const float* a = nullptr;  // [m, num_blocks * padded(block)]: packed by pack_f32, pack_bf16 or pack_f8
  int64_t lda = 0;
  const float* a_scale = nullptr;  // [m, num_blocks], or null: 1
  const std::byte* w = nullptr;    // [n, k] in the entry's format, row-major
  const float* w_scale = nullptr;  // of the stored tensor, or null: 1
  int64_t w_scale_stride = 0;      // block scales in a row
  int64_t block_rows = 1;          // stored rows that share a scale
  int64_t first_row = 0;           // of the stored tensor, which is row 0 of w
  int64_t block = kPlainBlock;     // K elements in a block
  float* c = nullptr;              // [m, n]
  int64_t ldc = 0;
  int64_t m = 0, n = 0, k = 0;
};

/// c[i, r] = sum over rows j, ascending, of a[i, j] * w_scale[j, r] * w[j, r]: the product with the weight's other side,
/// which folds W^UK into the query (V2 section 2.1.2). a is [m, rows] and not padded.
struct GemmTransposedArgs {
  const float* a = nullptr;
  int64_t lda = 0;
  const std::byte* w = nullptr;  // [rows, cols], row-major
  const float* w_scale = nullptr;
  int64_t w_scale_stride = 0, block_rows = 1, block_cols = 1, first_row = 0;
  float* c = nullptr;  // [m, cols]
  int64_t ldc = 0;
  int64_t m = 0, rows = 0, cols = 0;
};

/// One chunk of keys and values against some queries, merged into their running softmax:
///   s_j = scale * q . k_j for j < visible[i];  M = max s;  p_j = exp(s_j - M);  L = sum p_j;  O = sum p_j v_j
///   (max, sum, out) becomes the same softmax over what it held and this chunk.
/// Start with max = -infinity, sum = 0, out = 0; divide out by sum at the end. visible[i] = 0 changes nothing.
struct AttendArgs {
  const float* q = nullptr;  // [num_queries, key_dim]
  int64_t ldq = 0;
  const float* k = nullptr;  // [num_keys, key_dim]
  int64_t ldk = 0;
  const float* v = nullptr;  // [num_keys, value_dim]
  int64_t ldv = 0;
  const int64_t* visible = nullptr;  // [num_queries]: how many of the chunk's keys the query may see
  int64_t num_queries = 0, num_keys = 0;
  int64_t key_dim = 0, value_dim = 0;  // multiples of kLanes
  float scale = 1.0F;
  bool round_to_bf16 = false;  // p goes into the product with v as BF16, as a BF16 matrix unit takes it
  float* max = nullptr;        // [num_queries]
  float* sum = nullptr;        // [num_queries]
  float* out = nullptr;        // [num_queries, value_dim]
  int64_t ldo = 0;
};

/// The most keys in one AttendArgs: attention is reduced in chunks of so many, aligned to absolute position.
inline constexpr int64_t kAttendChunk = 512;

/// A row per instruction set. One thread, noexcept, no allocation; the caller has checked everything.
struct KernelTable {
  const char* isa;

  /// y = x * (1 / sqrt(mean(x^2) + eps)) * weight over rows of n, in FP32. In place is allowed. The sum keeps 4 x kLanes
  /// partial sums, added up in the order of the ref row: each row has the same bits, as W8A8 has ties that hang on them.
  void (*rmsnorm)(const float* x, int64_t ldx, const float* weight, float* y, int64_t ldy, int64_t rows,
                  int64_t n, double eps) noexcept;
  /// y = silu(gate) * up, silu(g) = g / (1 + exp(-g)). y may be gate or up.
  void (*swiglu)(const float* gate, const float* up, float* y, int64_t n) noexcept;
  /// Rotates the pairs (x[2i], x[2i + 1]) of `heads` vectors by the angle whose cosine and sine are at i.
  void (*rope)(float* x, int64_t head_stride, int64_t heads, int64_t pairs, const float* cosine,
               const float* sine) noexcept;

  /// One row of activations, cut into blocks: as it is; rounded to BF16; or as E4M3 codes (as floats) with one scale
  /// per block, max|x| clamped to 1e-4, over 448, and rounded up to a power of two if ue8m0 (V3's act_quant).
  void (*pack_f32)(const float* x, int64_t k, int64_t block, float* packed) noexcept;
  void (*pack_bf16)(const float* x, int64_t k, int64_t block, float* packed) noexcept;
  void (*pack_f8)(const float* x, int64_t k, int64_t block, bool ue8m0, float* packed, float* scale) noexcept;

  /// n weights of a row as floats, exactly; block scales not applied. Indexed by Format.
  void (*expand[4])(const std::byte* w, int64_t n, float* out) noexcept;
  void (*gemm[4])(const GemmArgs& args) noexcept;
  void (*gemm_transposed[4])(const GemmTransposedArgs& args) noexcept;

  void (*attend)(const AttendArgs& args) noexcept;
};

/// The rows that this machine can run, best last. The first is "ref": plain C++, the definition of every kernel.
std::span<const KernelTable* const> runnable_tables();

/// The row in use: the best one, or the one that the environment variable HADAL_ISA names. Chosen once. Throws kUsage if
/// HADAL_ISA names none of runnable_tables().
const KernelTable& kernels();

inline size_t index_of(Format format) {
  return static_cast<size_t>(format);
}

}  // namespace hadal::kernels
