#pragma once

#include <span>

#include "hadal/core/view.h"
#include "hadal/core/weight.h"
#include "hadal/ops/context.h"

namespace hadal::ops {

/// y = x W^T, x: [T, in_features], y: [T, out_features]. How x is rounded depends on w's format and the context's
/// precision (packing_for in ops/packed.h).
void linear(Context& ctx, Mat<const float> x, const Weight& w, Mat<float> y);

/// The same with x rounded to BF16 at most, whatever w's format: kv_b_proj.
void linear_unquantised(Context& ctx, Mat<const float> x, const Weight& w, Mat<float> y);

/// The same without any rounding of x, whatever the context says: the router's product (docs/model.md#router).
void linear_f32(Context& ctx, Mat<const float> x, const Weight& w, Mat<float> y);

/// y[i] = x[rows[i]] W^T: the head, which only some positions need. y: [rows, out_features].
void linear_rows(Context& ctx, Mat<const float> x, std::span<const int32_t> rows, const Weight& w,
                 Mat<float> y);

/// Per head, y[t, h] = x[t, h] W_h with W_h = rows [h * rows_per_head, + in) of w: x: [T, H, in], y: [T, H, w.in_features].
/// This is the weight's other side: W^UK folded into the query.
void head_linear_transposed(Context& ctx, Cube<const float> x, const Weight& w, int64_t rows_per_head,
                            Cube<float> y);

/// Per head, y[t, h] = x[t, h] W_h^T with W_h = rows [h * rows_per_head + first_row, + out) of w.
/// x: [T, H, w.in_features], y: [T, H, out].
void head_linear(Context& ctx, Cube<const float> x, const Weight& w, int64_t rows_per_head, int64_t first_row,
                 Cube<float> y);

/// Rows of an embedding table as floats: y[t] = table[ids[t]]. The caller has checked the ids.
void embed(Context& ctx, std::span<const int32_t> ids, const Weight& table, Mat<float> y);

}  // namespace hadal::ops
