#include "hadal/kernels/rows.h"

#include "hadal/kernels/amx.h"
#include "hadal/kernels/avx2.h"
#include "hadal/kernels/ref.h"
#include "hadal/kernels/vnni.h"

namespace hadal::kernels {
namespace {

// Up to so many rows of activations, the vector instructions are faster than tiles, which have to unpack INT4 first and
// to transpose results (measured on Sapphire Rapids: docs/log.md). Integers are exact either way.
int64_t most_vector_rows(Format format) {
  return format == Format::kI4 ? 12 : 6;
}

void pack_i8(const PackArgs& args) noexcept {
  const auto pack = args.total_m <= most_vector_rows(args.format) ? vnni::pack_i8 : amx::pack_i8;
  pack(args);
}

template <Format format>
void gemm_i8(const ProductArgs& args) noexcept {
  const auto gemm = args.m <= most_vector_rows(format) ? vnni::gemm_i8<format> : amx::gemm_i8<format>;
  gemm(args);
}

// The formats that the vector rows multiply with floats: all but kI4, which takes them under --dtype float32 only.
template <class Body>
void for_each_float_format(const Body& body) {
  body.template operator()<Format::kF32>();
  body.template operator()<Format::kBF16>();
  body.template operator()<Format::kF16>();
  body.template operator()<Format::kF8E4M3>();
  body.template operator()<Format::kI8>();
}

}  // namespace

const KernelTable& avx2_table() {
  static const KernelTable table = [] {
    KernelTable t = ref_table();
    t.isa = "avx2";
    t.rmsnorm = avx2::rmsnorm;
    t.swiglu = avx2::swiglu;
    t.rope = avx2::rope;
    t.pack_bf16 = avx2::pack_bf16;
    t.store_bf16 = avx2::store_bf16;
    t.attend = avx2::attend;
    for_each_float_format([&]<Format format>() {
      t.gemm[index_of(format)] = avx2::gemm<format>;
      t.gemm_transposed[index_of(format)] = avx2::gemm_transposed<format>;
    });
    t.i8[index_of(Format::kI8)].gemm = avx2::gemm_i8;
    t.i8[index_of(Format::kI4)].gemm = avx2::gemm_i4;
    return t;
  }();
  return table;
}

const KernelTable& avx2_vnni_table() {
  static const KernelTable table = [] {
    KernelTable t = avx2_table();
    t.isa = "avx2_vnni";
    t.i8[index_of(Format::kI8)].gemm = avx2_vnni::gemm_i8;
    t.i8[index_of(Format::kI4)].gemm = avx2_vnni::gemm_i4;
    return t;
  }();
  return table;
}

const KernelTable& avx512_table() {
  static const KernelTable table = [] {
    KernelTable t = avx2_table();
    t.isa = "avx512";
    t.store_bf16 = vnni::store_bf16;
    t.store_f8 = vnni::store_f8;
    t.f8_to_bf16 = vnni::f8_to_bf16;
    t.expand[index_of(Format::kF8E4M3)] = vnni::expand_f8;
    t.swiglu = vnni::swiglu;
    t.attend = vnni::attend;
    for_each_float_format([&]<Format format>() {
      t.gemm[index_of(format)] = vnni::gemm<format>;
      t.gemm_transposed[index_of(format)] = vnni::gemm_transposed<format>;
    });
    t.i8[index_of(Format::kI8)] = {ref::i8_row_bytes, vnni::pack_i8, vnni::gemm_i8<Format::kI8>};
    t.i8[index_of(Format::kI4)] = {ref::i8_row_bytes, vnni::pack_i8, vnni::gemm_i8<Format::kI4>};
    return t;
  }();
  return table;
}

const KernelTable& amx_table() {
  static const KernelTable table = [] {
    KernelTable t = avx512_table();
    t.isa = "amx";
    t.attend_tiles = amx::attend_tiles;
    t.pair_rows = amx::pair_rows;
    t.pair_floats = amx::pair_floats;
    t.bf16[index_of(Format::kBF16)] = {amx::bf16_row_bytes, amx::pack_bf16, amx::gemm_bf16<Format::kBF16>};
    t.bf16[index_of(Format::kF8E4M3)] = {amx::bf16_row_bytes, amx::pack_bf16,
                                         amx::gemm_bf16<Format::kF8E4M3>};
    t.bf16[index_of(Format::kI8)] = {amx::bf16_row_bytes, amx::pack_bf16, amx::gemm_bf16<Format::kI8>};
    t.i8[index_of(Format::kI8)] = {ref::i8_row_bytes, pack_i8, gemm_i8<Format::kI8>};
    t.i8[index_of(Format::kI4)] = {ref::i8_row_bytes, pack_i8, gemm_i8<Format::kI4>};
    return t;
  }();
  return table;
}

}  // namespace hadal::kernels
