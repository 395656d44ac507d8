#include "hadal/ops/linear.h"

#include <algorithm>

#include "hadal/core/dtype.h"
#include "hadal/kernels/kernel_table.h"
#include "hadal/ops/packed.h"

namespace hadal::ops {
namespace {

using kernels::index_of;

// Heads of a map, each of some of its rows, that one thread takes at a time.
int64_t heads_in_piece(const Weight& w, int64_t rows, int64_t tokens) {
  return kBytesInPiece / (rows * w.row_bytes() * tokens + 1) + 1;
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
  if (ctx.observer) ctx.observer->see(w, x, nullptr);
  const auto frame = ctx.scratch.frame();
  const Packed packed = pack(ctx, x, w, packing);
  parallel_for(ctx.pool, w.out_features, rows_in_piece(w, x.shape[0], ctx.pool.num_threads()),
               [&](int64_t begin, int64_t end) { packed.multiply(w, begin, end, y); });
}

}  // namespace

void linear(Context& ctx, Mat<const float> x, const Weight& w, Mat<float> y) {
  linear_packed(ctx, x, w, y, packing_for(ctx.precision, w));
}

void linear_unquantised(Context& ctx, Mat<const float> x, const Weight& w, Mat<float> y) {
  linear_packed(ctx, x, w, y, unquantised_packing_for(ctx.precision, w));
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

void head_linear_transposed(Context& ctx, Cube<const float> x, const Weight& w, int64_t rows_per_head,
                            Cube<float> y) {
  const int64_t tokens = x.shape[0], heads = x.shape[1], in = x.shape[2];
  HADAL_CHECK(y.shape[2] == w.in_features && heads * rows_per_head == w.out_features,
              "head_linear_transposed: x {} through {} into {}", to_string(x.shape), w.name,
              to_string(y.shape));
  const bool round = unquantised_packing_for(ctx.precision, w) == Packing::kBF16;
  const auto frame = ctx.scratch.frame();
  const auto rounded = ctx.scratch.cube<float>(tokens, heads, in);
  parallel_for(ctx.pool, heads, heads_in_piece(w, in, tokens), [&](int64_t begin, int64_t end) {
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
      args.group_code = head.group_code;
      args.group = head.group;
      args.group_cols = head.group_cols();
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
  const Packing packing = unquantised_packing_for(ctx.precision, w);
  const auto frame = ctx.scratch.frame();
  const auto packed = ctx.scratch.vec<Packed>(heads);
  for (int64_t h = 0; h < heads; ++h) packed[h] = Packed(ctx, tokens, w, packing);
  parallel_for(ctx.pool, heads, heads_in_piece(w, out, tokens), [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      const Mat<const float> x_head{x.data + h * x.stride[1], {tokens, x.shape[2]}, {x.stride[0], 1}};
      for (int64_t p = 0; p < packed[h].num_panels(); ++p) packed[h].pack_panel(ctx, x_head, nullptr, w, p);
      const Mat<float> y_head{y.data + h * y.stride[1], {tokens, out}, {y.stride[0], 1}};
      packed[h].multiply(w.rows(h * rows_per_head + first_row, out), 0, out, y_head);
    }
  });
}

void embed(Context& ctx, std::span<const int32_t> ids, const Weight& table, Mat<float> y) {
  const int64_t row_bytes = table.row_bytes();
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
