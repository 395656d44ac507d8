#pragma once

#include <bit>
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
/// On the reference row, and on all rows under W8A8 (a_scale), a dot product keeps kLanes partial sums (element k of the
/// block goes to lane k mod kLanes, ascending) and adds them up as a fixed tree. The vector rows keep as many sums as a
/// vector has floats, fused, scale them block by block and add them up at the end (gemm_float.inc). Neither order depends
/// on m, n or on which part of them a call computes.
struct GemmArgs {
  const float* a = nullptr;  // [m, num_blocks * padded(block)]: packed by pack_f32, pack_bf16 or pack_f8
  int64_t lda = 0;
  const float* a_scale = nullptr;       // [m, num_blocks], or null: 1
  const std::byte* w = nullptr;         // [n, k] in the entry's format, row-major (core/weight.h)
  const float* w_scale = nullptr;       // of the stored tensor, or null: 1
  int64_t w_scale_stride = 0;           // block scales in a row
  int64_t block_rows = 1;               // stored rows that share a scale
  int64_t first_row = 0;                // of the stored tensor, which is row 0 of w
  const uint8_t* group_code = nullptr;  // kI4: of the stored tensor
  int64_t group = 0, group_cols = 0;    // kI4: columns of a group, groups in a row
  int64_t block = kPlainBlock;          // K elements in a block
  float* c = nullptr;                   // [m, n]
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
  const uint8_t* group_code = nullptr;  // kI4, as in GemmArgs
  int64_t group = 0, group_cols = 0;
  float* c = nullptr;  // [m, cols]
  int64_t ldc = 0;
  int64_t m = 0, rows = 0, cols = 0;
};

/// Attention of up to 16 lanes (queries) against one chunk, as AttendArgs, on BF16 numbers in a matrix unit's layouts.
struct TileAttendArgs {
  const std::byte* q = nullptr;  // the lanes' queries, packed by Product bf16[kBF16]
  int64_t lanes = 0;
  const std::byte* const* key_tiles = nullptr;  // where each 16 keys begin; all 16 rows may be read
  int64_t ldk = 0;                              // bytes between keys
  const std::byte* value_pairs =
      nullptr;  // values 2 j and 2 j + 1 interleaved by pair_rows, zeros to whole 32 keys
  int64_t key_dim = 0, value_dim = 0;  // multiples of 32 and of 16
  const int64_t* visible = nullptr;    // [lanes]
  float scale = 1.0F;
  float* max = nullptr;  // [lanes]
  float* sum = nullptr;  // [lanes]
  float* out = nullptr;  // [lanes, value_dim]
  int64_t ldo = 0;
};

/// Rows of activations that are packed together, by one call of Product::pack.
inline constexpr int64_t kPanelRows = 16;

/// Rows that m rows take when they are packed for a Product: whole panels, or a single one with room for 1, 2, 4, 8 or 16,
/// so that its lines do not straddle those of the cache.
inline int64_t packed_rows(int64_t m) {
  if (m > kPanelRows) return (m + kPanelRows - 1) / kPanelRows * kPanelRows;
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(m)));
}

/// One panel: rows[0 .. m) of x (or its first m, if rows is null), as the same Product's gemm reads them.
struct PackArgs {
  const float* x = nullptr;
  int64_t ldx = 0;
  const int32_t* rows = nullptr;
  int64_t m = 0;        // at most kPanelRows
  int64_t total_m = 0;  // rows of the whole product, all panels
  int64_t k = 0;
  Format format = Format::kBF16;  // of the weight
  std::byte* packed = nullptr;    // of this panel: the whole product's + panel * kPanelRows * row_bytes(k)
  float* scale = nullptr;         // [m], of integer codes
  int32_t* sum = nullptr;         // [m]
};

/// c = a x w^T on packed activations; all panels at once.
struct ProductArgs {
  const std::byte* a = nullptr;
  const float* a_scale = nullptr;  // [m]; null where activations have none
  const int32_t* a_sum = nullptr;  // [m]
  Weight w;                        // all of it: n rows from first_n
  int64_t first_n = 0;
  float* c = nullptr;  // [m, n]
  int64_t ldc = 0;
  int64_t m = 0, n = 0;
};

/// Scale blocks that a Product takes: a whole row, or a multiple of 64 columns up to this many.
inline constexpr int64_t kMaxScaleBlock = 2048;

/// A way to multiply activations of one kind with weights of one format, in a layout of its own. An element's bits
/// depend on its row of activations and its row of weights only: not on m, n, or what else a call computes.
///
/// With BF16 activations: c = sum over K, or over the K blocks of w's scales, ascending, of block products in FP32. The
/// order inside a block is the row's own. With 8-bit activations x / s, s = max|x| / 127 per row, rounded to nearest even:
///   c = (sum over scale blocks b, ascending, of float(integer dot_b) * w_scale_b) * s
/// which is the same bits in every row of the table. A row of x with an infinity or a NaN has codes 0 and s = NaN.
struct Product {
  int64_t (*row_bytes)(int64_t k) noexcept = nullptr;  // of a packed row; m rows take packed_rows(m) of them
  void (*pack)(const PackArgs& args) noexcept = nullptr;
  void (*gemm)(const ProductArgs& args) noexcept = nullptr;
  explicit operator bool() const { return gemm != nullptr; }
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

  /// n floats as BF16 codes, rounded to nearest even.
  void (*store_bf16)(const float* x, int64_t n, std::byte* out) noexcept;

  /// n floats as E4M3 codes of x / s, rounded to nearest even; returns s, the smallest power of two for which all fit, but
  /// at least 2^-117, so that every code times s is a normal number. NaN if a number is infinite or NaN.
  float (*store_f8)(const float* x, int64_t n, std::byte* codes) noexcept;
  /// n codes times such an s as BF16: exact.
  void (*f8_to_bf16)(const std::byte* codes, int64_t n, float scale, std::byte* out) noexcept;

  /// n weights of a row as floats, exactly; block scales not applied. Indexed by Format.
  /// kI4 has no expand: its numbers need their groups.
  void (*expand[kNumFormats])(const std::byte* w, int64_t n, float* out) noexcept;
  void (*gemm[kNumFormats])(const GemmArgs& args) noexcept;
  void (*gemm_transposed[kNumFormats])(const GemmTransposedArgs& args) noexcept;

  /// By the weight's format. bf16: a matrix unit's; empty where there is none, then pack_bf16 and gemm do it. i8: kI8 and
  /// kI4.
  Product bf16[kNumFormats], i8[kNumFormats];

  void (*attend)(const AttendArgs& args) noexcept;

  /// Null where the row has no matrix unit.
  void (*attend_tiles)(const TileAttendArgs& args) noexcept;
  /// out[2 d] = a[d], out[2 d + 1] = b[d] for d < n, as BF16; b may be null: zeros. n is a multiple of 16.
  void (*pair_rows)(const std::byte* a, const std::byte* b, int64_t n, std::byte* out) noexcept;
  void (*pair_floats)(const float* a, const float* b, int64_t n, std::byte* out) noexcept;
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
