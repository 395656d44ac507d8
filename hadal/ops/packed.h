#pragma once

#include <algorithm>
#include <cstdint>

#include "hadal/core/view.h"
#include "hadal/core/weight.h"
#include "hadal/kernels/kernel_table.h"
#include "hadal/ops/context.h"

namespace hadal::ops {

/// What becomes of activations on their way into a product.
enum class Packing : uint8_t { kF32, kBF16, kF8, kI8 };

/// The rule: BF16 and FP8 weights take BF16, FP8 weights E4M3 under W8A8, integer weights 8-bit integers; F32 and F16
/// weights, and all of them under Precision::f32, take activations as they are.
Packing packing_for(const Precision& precision, const Weight& w);

/// For kv_b_proj, whose input no checkpoint's format quantises (V3 demo): at most BF16.
Packing unquantised_packing_for(const Precision& precision, const Weight& w);

/// Rows of activations as the kernels for one weight read them. Memory is the context's scratch.
class Packed {
 public:
  Packed() = default;
  /// Room for m rows, to be filled by pack_panel.
  Packed(Context& ctx, int64_t m, const Weight& w, Packing packing);

  int64_t num_panels() const { return (m_ + kernels::kPanelRows - 1) / kernels::kPanelRows; }
  int64_t num_rows() const { return m_; }

  /// Packs panel p: rows rows[16 p], ... of x, or x's own rows 16 p, ... if `rows` is null.
  void pack_panel(const Context& ctx, Mat<const float> x, const int32_t* rows, const Weight& w,
                  int64_t p) const;

  /// y[:, begin : end) = these rows x w^T, on the calling thread. w may be any of the weights that are like the one
  /// given before: an expert's gate and up projections read the same rows.
  void multiply(const Weight& w, int64_t begin, int64_t end, Mat<float> y) const;

  /// y = rows [first, first + y's) of that. first is a multiple of 16; y has more than 16 rows if there are more than 16.
  void multiply_rows(const Weight& w, int64_t first, int64_t begin, int64_t end, Mat<float> y) const;

 private:
  Packing packing_ = Packing::kF32;
  int64_t m_ = 0;
  const kernels::Product* product_ = nullptr;  // null: rows of floats, kernel gemm
  std::byte* bytes_ = nullptr;                 // product
  float* scale_ = nullptr;                     // kI8: [m]
  int32_t* sum_ = nullptr;                     // kI8: [m]
  Mat<float> rows_, f8_scale_;                 // floats
};

/// Bytes that a thread reads in about the time that it takes to wake it: less is not worth a piece of its own.
inline constexpr int64_t kBytesInPiece = int64_t{64} << 10;

/// Output features in one piece of work on m rows, a multiple of 32. Kernels bring in the rows behind those at hand, which
/// helps only while a piece goes on; so pieces are as long as leaves each thread some of them.
inline int64_t rows_in_piece(const Weight& w, int64_t m, int num_threads) {
  constexpr int64_t kFewest = 32, kMost = 128, kPiecesForAThread = 4;
  const int64_t fair = w.out_features / (kPiecesForAThread * num_threads) / kFewest * kFewest;
  const int64_t worth = kBytesInPiece / (w.row_bytes() * m + 1) / kFewest * kFewest + kFewest;
  return std::max(std::clamp(fair, kFewest, kMost), worth);
}

/// Panels of m rows in all, k numbers each, that one thread packs at a time.
inline int64_t panels_in_piece(int64_t panels, int64_t m, int64_t k) {
  const int64_t numbers = m * k / std::max<int64_t>(panels, 1);
  return kBytesInPiece / static_cast<int64_t>(sizeof(float)) / std::max<int64_t>(numbers, 1) + 1;
}

/// All panels of x, in parallel.
Packed pack(Context& ctx, Mat<const float> x, const Weight& w, Packing packing);

}  // namespace hadal::ops
