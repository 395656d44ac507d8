#include "hadal/ops/linear.h"

#include <algorithm>

#include "hadal/core/dtype.h"
#include "hadal/kernels/kernel_table.h"
#include "hadal/kernels/pack.h"

namespace hadal::ops {
namespace {

using kernels::GemmArgs;
using kernels::index_of;
using kernels::k_block;
using kernels::num_blocks;
using kernels::packed_width;

// Output features in one piece of work: small enough to balance two threads on a head, large enough that a dispatch is
// nothing beside it.
constexpr int64_t kStripRows = 32;

enum class Packing : uint8_t { kF32, kBF16, kF8 };

Packing packing_for(const Precision& precision, const Weight& w) {
  if (w.format == Format::kF8E4M3 && precision.f8_activations) return Packing::kF8;
  const bool low = w.format == Format::kF8E4M3 || w.format == Format::kBF16;
  return low && !precision.f32 ? Packing::kBF16 : Packing::kF32;
}

// Absorbed attention multiplies by pieces of kv_b_proj; W8A8 does not quantise activations there (V3 demo).
Packing head_packing(Precision precision, const Weight& w) {
  precision.f8_activations = false;
  return packing_for(precision, w);
}

// Activations as the kernels read them.
struct Packed {
  Mat<float> rows;
  Mat<float> scales;  // empty unless kF8
};

Packed allocate_packed(Context& ctx, int64_t rows, const Weight& w, Packing packing) {
  Packed packed;
  packed.rows = ctx.scratch.mat<float>(rows, packed_width(w.in_features, k_block(w)));
  if (packing == Packing::kF8)
    packed.scales = ctx.scratch.mat<float>(rows, num_blocks(w.in_features, k_block(w)));
  return packed;
}

void pack_row(const Context& ctx, const float* x, const Weight& w, Packing packing, const Packed& packed,
              int64_t row) {
  const kernels::KernelTable& kernel = kernels::kernels();
  float* out = packed.rows[row].data;
  switch (packing) {
    case Packing::kF32:
      return kernel.pack_f32(x, w.in_features, k_block(w), out);
    case Packing::kBF16:
      return kernel.pack_bf16(x, w.in_features, k_block(w), out);
    case Packing::kF8:
      return kernel.pack_f8(x, w.in_features, k_block(w), ctx.precision.ue8m0, out, packed.scales[row].data);
  }
}

Packed pack(Context& ctx, Mat<const float> x, const Weight& w, Packing packing) {
  const Packed packed = allocate_packed(ctx, x.shape[0], w, packing);
  parallel_for(ctx.pool, x.shape[0], 8, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) pack_row(ctx, x[t].data, w, packing, packed, t);
  });
  return packed;
}

// y[:, begin : end) = packed rows [first, first + y.rows) x w^T, on the calling thread.
void multiply(const Packed& packed, int64_t first, const Weight& w, int64_t begin, int64_t end,
              Mat<float> y) {
  const Weight part = w.rows(begin, end - begin);
  GemmArgs args;
  args.a = packed.rows.data + first * packed.rows.stride[0];
  args.lda = packed.rows.stride[0];
  if (packed.scales.data) args.a_scale = packed.scales.data + first * packed.scales.stride[0];
  args.w = part.data;
  args.w_scale = part.scale;
  args.w_scale_stride = part.scale_cols();
  args.block_rows = part.scale ? part.block_rows : 1;
  args.first_row = part.first_row;
  args.block = k_block(w);
  args.c = y.data + begin;
  args.ldc = y.stride[0];
  args.m = y.shape[0];
  args.n = end - begin;
  args.k = w.in_features;
  kernels::kernels().gemm[index_of(w.format)](args);
}

void check_linear(const char* op, Mat<const float> x, const Weight& w, Mat<float> y) {
  HADAL_CHECK(
      !w.empty() && x.shape[1] == w.in_features && y.shape[1] == w.out_features && x.shape[0] == y.shape[0],
      "{}: x {} through {} [{}, {}] into {}", op, to_string(x.shape), w.name, w.out_features, w.in_features,
      to_string(y.shape));
}

void linear_packed(Context& ctx, Mat<const float> x, const Weight& w, Mat<float> y, Packing packing) {
  check_linear("linear", x, w, y);
  if (x.shape[0] == 0) return;
  const auto frame = ctx.scratch.frame();
  const Packed packed = pack(ctx, x, w, packing);
  parallel_for(ctx.pool, w.out_features, kStripRows,
               [&](int64_t begin, int64_t end) { multiply(packed, 0, w, begin, end, y); });
}

}  // namespace

void linear(Context& ctx, Mat<const float> x, const Weight& w, Mat<float> y) {
  linear_packed(ctx, x, w, y, packing_for(ctx.precision, w));
}

void linear_f32(Context& ctx, Mat<const float> x, const Weight& w, Mat<float> y) {
  linear_packed(ctx, x, w, y, Packing::kF32);
}

void linear_rows(Context& ctx, Mat<const float> x, std::span<const int32_t> rows, const Weight& w,
                 Mat<float> y) {
  const auto frame = ctx.scratch.frame();
  const auto chosen = ctx.scratch.mat<float>(y.shape[0], x.shape[1]);
  for (int64_t i = 0; i < y.shape[0]; ++i) copy(x[rows[static_cast<size_t>(i)]], chosen[i]);
  linear(ctx, chosen, w, y);
}

void expert_linear(Context& ctx, Mat<const float> x, std::span<const int32_t> token_of,
                   std::span<const int32_t> expert_start, std::span<const Weight> experts, Mat<float> y) {
  HADAL_CHECK(expert_start.size() == experts.size() + 1, "expert_linear: {} starts for {} experts",
              expert_start.size(), experts.size());
  if (token_of.empty()) return;
  const Weight& any = experts[0];
  HADAL_CHECK(x.shape[1] == any.in_features && y.shape[1] == any.out_features,
              "expert_linear: x {} through {} into {}", to_string(x.shape), any.name, to_string(y.shape));
  const auto frame = ctx.scratch.frame();
  // The experts that have work, in order; only they cost anything.
  auto active = ctx.scratch.vec<int32_t>(static_cast<int64_t>(experts.size()));
  auto packed = ctx.scratch.vec<Packed>(static_cast<int64_t>(experts.size()));
  int64_t num_active = 0;
  for (size_t e = 0; e < experts.size(); ++e) {
    const int64_t rows = expert_start[e + 1] - expert_start[e];
    if (rows == 0) continue;
    active[num_active] = static_cast<int32_t>(e);
    packed[num_active++] = allocate_packed(ctx, rows, experts[e], packing_for(ctx.precision, experts[e]));
  }
  parallel_for(ctx.pool, num_active, 1, [&](int64_t begin, int64_t end) {
    for (int64_t a = begin; a < end; ++a) {
      const auto e = static_cast<size_t>(active[a]);
      const Packing packing = packing_for(ctx.precision, experts[e]);
      for (int64_t p = expert_start[e]; p < expert_start[e + 1]; ++p) {
        pack_row(ctx, x[token_of[static_cast<size_t>(p)]].data, experts[e], packing, packed[a],
                 p - expert_start[e]);
      }
    }
  });
  const int64_t strips = num_blocks(any.out_features, kStripRows);
  parallel_for(ctx.pool, num_active * strips, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t a = item / strips, strip = item % strips * kStripRows;
      const auto e = static_cast<size_t>(active[a]);
      const Mat<float> out = y.rows(expert_start[e], expert_start[e + 1] - expert_start[e]);
      multiply(packed[a], 0, experts[e], strip, std::min(strip + kStripRows, any.out_features), out);
    }
  });
}

void head_linear_transposed(Context& ctx, Cube<const float> x, const Weight& w, int64_t rows_per_head,
                            Cube<float> y) {
  const int64_t tokens = x.shape[0], heads = x.shape[1], in = x.shape[2];
  HADAL_CHECK(y.shape[2] == w.in_features && heads * rows_per_head == w.out_features,
              "head_linear_transposed: x {} through {} into {}", to_string(x.shape), w.name,
              to_string(y.shape));
  const bool round = head_packing(ctx.precision, w) == Packing::kBF16;
  const auto frame = ctx.scratch.frame();
  const auto rounded = ctx.scratch.cube<float>(tokens, heads, in);
  parallel_for(ctx.pool, heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      for (int64_t t = 0; t < tokens; ++t) {
        const float* from = x[t][h].data;
        float* to = rounded[t][h].data;
        for (int64_t i = 0; i < in; ++i) to[i] = round ? round_to_bf16(from[i]) : from[i];
      }
      const Weight head = w.rows(h * rows_per_head, in);
      kernels::GemmTransposedArgs args;
      args.a = rounded.data + h * in;
      args.lda = rounded.stride[0];
      args.w = head.data;
      args.w_scale = head.scale;
      args.w_scale_stride = head.scale_cols();
      args.block_rows = head.scale ? head.block_rows : 1;
      args.block_cols = head.scale ? head.block_cols : 1;
      args.first_row = head.first_row;
      args.c = y.data + h * y.stride[1];
      args.ldc = y.stride[0];
      args.m = tokens;
      args.rows = in;
      args.cols = w.in_features;
      kernels::kernels().gemm_transposed[index_of(w.format)](args);
    }
  });
}

void head_linear(Context& ctx, Cube<const float> x, const Weight& w, int64_t rows_per_head, int64_t first_row,
                 Cube<float> y) {
  const int64_t tokens = x.shape[0], heads = x.shape[1], out = y.shape[2];
  HADAL_CHECK(x.shape[2] == w.in_features && heads * rows_per_head == w.out_features &&
                  first_row + out <= rows_per_head,
              "head_linear: x {} through {} into {}", to_string(x.shape), w.name, to_string(y.shape));
  const Packing packing = head_packing(ctx.precision, w);
  const auto frame = ctx.scratch.frame();
  const Packed packed =
      allocate_packed(ctx, heads * tokens, w, packing);  // head-major: a head's tokens are one block
  parallel_for(ctx.pool, heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      for (int64_t t = 0; t < tokens; ++t) pack_row(ctx, x[t][h].data, w, packing, packed, h * tokens + t);
      const Weight head = w.rows(h * rows_per_head + first_row, out);
      const Mat<float> y_head{y.data + h * y.stride[1], {tokens, out}, {y.stride[0], 1}};
      multiply(packed, h * tokens, head, 0, out, y_head);
    }
  });
}

void embed(Context& ctx, std::span<const int32_t> ids, const Weight& table, Mat<float> y) {
  const int64_t row_bytes = table.in_features * bytes_per_element(table.format);
  parallel_for(ctx.pool, y.shape[0], 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t id = ids[static_cast<size_t>(t)];
      HADAL_DCHECK(id >= 0 && id < table.out_features, "embed: id {} of {}", id, table.out_features);
      kernels::kernels().expand[index_of(table.format)](table.data + id * row_bytes, table.in_features,
                                                        y[t].data);
    }
  });
}

}  // namespace hadal::ops
