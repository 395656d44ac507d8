#include "hadal/ops/packed.h"

#include <algorithm>

#include "hadal/kernels/pack.h"

namespace hadal::ops {
namespace {

using kernels::index_of;
using kernels::k_block;
using kernels::kPanelRows;
using kernels::num_blocks;
using kernels::packed_width;
using kernels::Product;

bool suits_products(const Weight& w) {
  if (w.scale == nullptr || w.block_cols >= w.in_features) return true;
  return w.block_cols % 64 == 0 && w.block_cols <= kernels::kMaxScaleBlock;
}

const Product* product_for(const Weight& w, Packing packing) {
  const kernels::KernelTable& kernel = kernels::kernels();
  if (packing == Packing::kI8) return &kernel.i8[index_of(w.format)];
  if (packing != Packing::kBF16 || !suits_products(w)) return nullptr;
  const Product& product = kernel.bf16[index_of(w.format)];
  return product ? &product : nullptr;
}

}  // namespace

Packing unquantised_packing_for(const Precision& precision, const Weight& w) {
  const bool exact = precision.f32 || w.format == Format::kF32 || w.format == Format::kF16;
  return exact ? Packing::kF32 : Packing::kBF16;
}

Packing packing_for(const Precision& precision, const Weight& w) {
  if (w.format == Format::kF8E4M3 && precision.f8_activations) return Packing::kF8;
  if (w.is_integer() && !precision.f32 && suits_products(w)) return Packing::kI8;
  return unquantised_packing_for(precision, w);
}

Packed::Packed(Context& ctx, int64_t m, const Weight& w, Packing packing)
    : packing_(packing), m_(m), product_(product_for(w, packing)) {
  const int64_t k = w.in_features;
  if (product_ == nullptr) {
    rows_ = ctx.scratch.mat<float>(m, packed_width(k, k_block(w)));
    if (packing == Packing::kF8) f8_scale_ = ctx.scratch.mat<float>(m, num_blocks(k, k_block(w)));
    return;
  }
  bytes_ = ctx.scratch.vec<std::byte>(kernels::packed_rows(m) * product_->row_bytes(k)).data;
  if (packing != Packing::kI8) return;
  scale_ = ctx.scratch.vec<float>(m).data;
  sum_ = ctx.scratch.vec<int32_t>(m).data;
}

void Packed::pack_panel(const Context& ctx, Mat<const float> x, const int32_t* rows, const Weight& w,
                        int64_t p) const {
  const int64_t first = p * kPanelRows, count = std::min(kPanelRows, m_ - first);
  const kernels::KernelTable& kernel = kernels::kernels();
  if (product_ != nullptr) {
    kernels::PackArgs args;
    args.x = rows ? x.data : x[first].data;
    args.ldx = x.stride[0];
    args.rows = rows ? rows + first : nullptr;
    args.m = count;
    args.total_m = m_;
    args.k = w.in_features;
    args.format = w.format;
    args.packed = bytes_ + first * product_->row_bytes(w.in_features);
    if (scale_) args.scale = scale_ + first;
    if (sum_) args.sum = sum_ + first;
    product_->pack(args);
    return;
  }
  for (int64_t i = first; i < first + count; ++i) {
    const float* from = x[rows ? rows[i] : i].data;
    float* to = rows_[i].data;
    if (packing_ == Packing::kF8) {
      kernel.pack_f8(from, w.in_features, k_block(w), ctx.precision.ue8m0, to, f8_scale_[i].data);
    } else {
      const auto pack = packing_ == Packing::kBF16 ? kernel.pack_bf16 : kernel.pack_f32;
      pack(from, w.in_features, k_block(w), to);
    }
  }
}

void Packed::multiply(const Weight& w, int64_t begin, int64_t end, Mat<float> y) const {
  multiply_rows(w, 0, begin, end, {y.data + begin, {m_, end - begin}, y.stride});
}

void Packed::multiply_rows(const Weight& w, int64_t first, int64_t begin, int64_t end, Mat<float> y) const {
  const int64_t m = y.shape[0];
  HADAL_DCHECK(first % kPanelRows == 0 && first + m <= m_ && (m > kPanelRows || m == m_),
               "rows {} to {} of {}", first, first + m, m_);
  if (product_ != nullptr) {
    kernels::ProductArgs args;
    args.a = bytes_ + first * product_->row_bytes(w.in_features);
    if (scale_) args.a_scale = scale_ + first;
    if (sum_) args.a_sum = sum_ + first;
    args.w = w;
    args.first_n = begin;
    args.c = y.data;
    args.ldc = y.stride[0];
    args.m = m;
    args.n = end - begin;
    product_->gemm(args);
    return;
  }
  const Weight part = w.rows(begin, end - begin);
  kernels::GemmArgs args;
  args.a = rows_.rows(first, m).data;
  args.lda = rows_.stride[0];
  if (f8_scale_.data) args.a_scale = f8_scale_.rows(first, m).data;
  args.w = part.data;
  args.w_scale = part.scale;
  args.w_scale_stride = part.scale_cols();
  args.block_rows = part.scale ? part.block_rows : 1;
  args.first_row = part.first_row;
  args.group_code = part.group_code;
  args.group = part.group;
  args.group_cols = part.group_cols();
  args.block = k_block(w);
  args.c = y.data;
  args.ldc = y.stride[0];
  args.m = m;
  args.n = end - begin;
  args.k = w.in_features;
  kernels::kernels().gemm[index_of(w.format)](args);
}

Packed pack(Context& ctx, Mat<const float> x, const Weight& w, Packing packing) {
  const Packed packed(ctx, x.shape[0], w, packing);
  parallel_for(ctx.pool, packed.num_panels(), panels_in_piece(packed.num_panels(), x.shape[0], x.shape[1]),
               [&](int64_t begin, int64_t end) {
                 for (int64_t p = begin; p < end; ++p) packed.pack_panel(ctx, x, nullptr, w, p);
               });
  return packed;
}

}  // namespace hadal::ops
