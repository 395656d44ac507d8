// Products on AMX tiles. The weight is the A operand, sixteen of its rows as they lie in memory, and the activations are
// the B operand, packed by panels of up to sixteen rows: so a checkpoint's bytes are used where they are mapped, and a
// single row costs what it must, the reading of the weight. A tile of results is transposed when it is done.
//
// Tiles: 0-3 results (weight rows 0-15 and 16-31 of a strip, times panel 0 and panel 1), 4 and 5 weights, 6 and 7 panels.
#include <algorithm>
#include <bit>
#include <cstring>

#include "hadal/kernels/amx.h"
#include "hadal/kernels/avx512.h"
#include "hadal/kernels/avx512_pack.h"
#include "hadal/kernels/tiles.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels::amx {
namespace {

constexpr int64_t kStrip = 32;    // weight rows at a time: two tiles
constexpr int64_t kChunk = 4096;  // bytes of a row that are unpacked at a time: 32 rows stay in a 2 MiB L2
constexpr int64_t kChunkStride =
    kChunk + kLine;  // 4096 apart, rows would share the same few sets of the cache
constexpr int64_t kSmallChunk =
    256;                       // for few activations: unpacking and multiplying alternate quickly and overlap
constexpr int64_t kPairs = 8;  // pairs of panels, whose results are open at the same time

// 16 x 16 results as a tile stores them: row = weight row, column = activation row.
using ResultTile = float[16][16];

// The up to 32 rows of activations that two tiles hold.
struct Pair {
  const std::byte* b[2];
  int64_t rows[2];
  int64_t width[2];  // rows as they are packed
};

Pair pair_at(const ProductArgs& args, int64_t row_bytes, int64_t row) {
  Pair pair;
  for (int64_t p = 0; p < 2; ++p) {
    const int64_t first = row + p * kPanelRows;
    pair.rows[p] = std::clamp<int64_t>(args.m - first, 0, kPanelRows);
    pair.width[p] = packed_rows(pair.rows[p]);
    pair.b[p] = args.a + first * row_bytes;
  }
  return pair;
}

void configure(const Pair& pair) {
  TileConfig config;
  for (int64_t p = 0; p < 2; ++p) {
    const auto bytes = static_cast<uint16_t>(4 * std::max<int64_t>(pair.width[p], 1));
    for (const int64_t tile : {2 * p, 2 * p + 1, 6 + p}) config.row_bytes[tile] = bytes;
  }
  config.row_bytes[4] = config.row_bytes[5] = kLine;
  std::fill_n(config.rows, 8, uint8_t{16});
  configure_tiles(config);
}

template <bool kInt, int kC, int kA, int kB>
void tile_dot() {
  if constexpr (kInt) {
    tile_dot_i8<kC, kA, kB>();
  } else {
    tile_dot_bf16<kC, kA, kB>();
  }
}

// Results += weights x activations over `lines` lines of K from byte `begin`. `ahead` is where the next strip's bytes
// are, to be brought in meanwhile; null: it is not worth it.
template <bool kInt, bool kTwo>
void dot_lines(const std::byte* weights, int64_t stride, const Pair& pair, int64_t begin, int64_t lines,
               const std::byte* ahead) {
  const int64_t width0 = 4 * pair.width[0], width1 = 4 * pair.width[1];
  const std::byte* b0 = pair.b[0] + begin * pair.width[0];
  const std::byte* b1 = pair.b[1] + begin * pair.width[1];
  for (int64_t line = 0; line < lines; ++line) {
    tile_load<4>(weights + line * kLine, stride);
    tile_load<6>(b0 + line * 16 * width0, width0);
    tile_dot<kInt, 0, 4, 6>();
    tile_load<5>(weights + 16 * stride + line * kLine, stride);
    tile_dot<kInt, 1, 5, 6>();
    if constexpr (kTwo) {
      tile_load<7>(b1 + line * 16 * width1, width1);
      tile_dot<kInt, 2, 4, 7>();
      tile_dot<kInt, 3, 5, 7>();
    }
    if (ahead != nullptr) {
      for (int64_t i = 0; i < kStrip; ++i) {
        _mm_prefetch(reinterpret_cast<const char*>(ahead + (line * kStrip + i) * kLine), _MM_HINT_T1);
      }
    }
  }
}

template <bool kInt>
void dot_lines(const std::byte* weights, int64_t stride, const Pair& pair, int64_t begin, int64_t lines,
               const std::byte* ahead) {
  if (pair.width[1] > 0) {
    dot_lines<kInt, true>(weights, stride, pair, begin, lines, ahead);
  } else {
    dot_lines<kInt, false>(weights, stride, pair, begin, lines, ahead);
  }
}

void zero_results() {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
}
void load_results(const ResultTile* tiles, bool two) {
  tile_load<0>(tiles[0], kLine);
  tile_load<1>(tiles[1], kLine);
  if (!two) return;
  tile_load<2>(tiles[2], kLine);
  tile_load<3>(tiles[3], kLine);
}
void store_results(ResultTile* tiles, bool two) {
  tile_store<0>(tiles[0], kLine);
  tile_store<1>(tiles[1], kLine);
  if (!two) return;
  tile_store<2>(tiles[2], kLine);
  tile_store<3>(tiles[3], kLine);
}

template <bool kInt>
__m512 as_floats(const float* row) {
  const __m512 bits = _mm512_loadu_ps(row);
  if constexpr (kInt) return _mm512_cvtepi32_ps(_mm512_castps_si512(bits));
  return bits;
}

// sums += block * scale, weight row by weight row.
template <bool kInt>
void add_scaled_block(const ResultTile* block, const float* scale, bool two, ResultTile* sums) {
  for (int64_t t = 0; t < (two ? 4 : 2); ++t) {
    for (int64_t r = 0; r < 16; ++r) {
      const __m512 value = _mm512_mul_ps(as_floats<kInt>(block[t][r]), _mm512_set1_ps(scale[t % 2 * 16 + r]));
      _mm512_storeu_ps(sums[t][r], _mm512_add_ps(_mm512_loadu_ps(sums[t][r]), value));
    }
  }
}

// Bytes [begin, begin + bytes) of a row as the tiles want it, BF16 or integers, whole lines. Zeros beyond the row's end.
template <Format format, bool kInt>
void unpack_row(const Weight& w, int64_t row, int64_t begin, int64_t bytes, std::byte* out);

template <>
void unpack_row<Format::kBF16, false>(const Weight& w, int64_t row, int64_t begin, int64_t bytes,
                                      std::byte* out) {
  const std::byte* from = w.data + row * w.row_bytes() + begin;
  const int64_t left = w.row_bytes() - begin;
  for (int64_t b = 0; b < bytes; b += kLine) {
    const auto mask = static_cast<__mmask32>(left - b >= kLine ? ~0U : (1U << ((left - b) / 2)) - 1);
    _mm512_storeu_si512(out + b, _mm512_maskz_loadu_epi16(mask, from + b));
  }
}

template <>
void unpack_row<Format::kI8, true>(const Weight& w, int64_t row, int64_t begin, int64_t bytes,
                                   std::byte* out) {
  const std::byte* from = w.data + row * w.row_bytes() + begin;
  const int64_t left = w.row_bytes() - begin;
  for (int64_t b = 0; b < bytes; b += kLine) {
    const __mmask64 mask = left - b >= kLine ? ~uint64_t{0} : (uint64_t{1} << (left - b)) - 1;
    _mm512_storeu_si512(out + b, _mm512_maskz_loadu_epi8(mask, from + b));
  }
}

template <>
void unpack_row<Format::kI4, true>(const Weight& w, int64_t row, int64_t begin, int64_t bytes,
                                   std::byte* out) {
  const std::byte* from = w.data + row * w.row_bytes() + begin / 2;
  const uint8_t* group_code = w.group_code + (w.first_row + row) * w.group_cols();
  const int64_t next_strip = kStrip * w.row_bytes();
  const int group_shift = std::countr_zero(static_cast<uint64_t>(w.group));
  for (int64_t b = 0; b < bytes; b += kLine) {
    const int64_t k = begin + b;
    const uint8_t low = group_code[k >> group_shift];
    const bool one_group = group_shift >= 6 || k + 32 >= w.in_features;
    const uint8_t high = one_group ? low : group_code[(k + 32) >> group_shift];
    if (b % (2 * kLine) == 0) {
      _mm_prefetch(reinterpret_cast<const char*>(from + b / 2 + next_strip), _MM_HINT_T1);
    }
    _mm512_storeu_si512(out + b, i4_bytes(from + b / 2, kI4Table, low, high));
  }
}

template <>
void unpack_row<Format::kI8, false>(const Weight& w, int64_t row, int64_t begin, int64_t bytes,
                                    std::byte* out) {
  const std::byte* from = w.data + row * w.row_bytes() + begin / 2;
  const int64_t left = w.in_features - begin / 2;
  for (int64_t k = 0; k < bytes / 2; k += 16) {
    const int64_t count = std::clamp<int64_t>(left - k, 0, 16);
    const auto mask = static_cast<__mmask16>((1U << count) - 1);
    const __m512i integers = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, from + k));
    const __m512i floats = _mm512_castps_si512(_mm512_cvtepi32_ps(integers));  // 8 bits: exact as BF16
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2 * k),
                        _mm512_cvtepi32_epi16(_mm512_srli_epi32(floats, 16)));
  }
}

// E4M3 to BF16, exactly. For exponent bits e != 0 the BF16 exponent e + 120 has the bits e3, three times not e3, not e3, e2,
// e1, e0: both bytes of the result are affine maps over GF(2) of the code. Codes with e = 0 are rare and looked up.
template <>
void unpack_row<Format::kF8E4M3, false>(const Weight& w, int64_t row, int64_t begin, int64_t bytes,
                                        std::byte* out) {
  const std::byte* from = w.data + row * w.row_bytes() + begin / 2;
  const int64_t left = w.in_features - begin / 2, next_strip = kStrip * w.row_bytes();
  const __m512i high_map = _mm512_set1_epi64(0x1020404040404080), low_map = _mm512_set1_epi64(0x01020408);
  const __m512i high_small = _mm512_set1_epi64(0x3c3c3c3c3b3b3b00);
  const __m512i low_small = _mm512_set1_epi64(0x60402000c0800000);
  const __m512i order =
      _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);  // so that unpacking restores the columns' order
  for (int64_t b = 0; b < bytes; b += 2 * kLine) {
    const int64_t k = b / 2;
    _mm_prefetch(reinterpret_cast<const char*>(from + k + next_strip), _MM_HINT_T1);
    const __mmask64 mask =
        left - k >= 64 ? ~uint64_t{0} : (uint64_t{1} << std::max<int64_t>(left - k, 0)) - 1;
    const __m512i codes = _mm512_permutexvar_epi64(order, _mm512_maskz_loadu_epi8(mask, from + k));
    __m512i high = _mm512_gf2p8affine_epi64_epi8(codes, high_map, 0x3c);
    __m512i low = _mm512_gf2p8affine_epi64_epi8(codes, low_map, 0);
    const __mmask64 small = _mm512_testn_epi8_mask(codes, _mm512_set1_epi8(0x78));
    if (small != 0) {
      const __m512i sign = _mm512_and_si512(codes, _mm512_set1_epi8(static_cast<char>(0x80)));
      high =
          _mm512_mask_permutexvar_epi8(high, small, _mm512_and_si512(codes, _mm512_set1_epi8(7)), high_small);
      high = _mm512_or_si512(high, _mm512_maskz_mov_epi8(small, sign));
      low = _mm512_mask_permutexvar_epi8(low, small, _mm512_and_si512(codes, _mm512_set1_epi8(7)), low_small);
    }
    _mm512_storeu_si512(out + b, _mm512_unpacklo_epi8(low, high));
    if (b + kLine < bytes) _mm512_storeu_si512(out + b + kLine, _mm512_unpackhi_epi8(low, high));
  }
}

// Where a strip's bytes are for the tiles: in the weight itself, or unpacked into a buffer.
template <Format format, bool kInt>
class Strip {
 public:
  Strip(const ProductArgs& args, int64_t first, std::byte* buffer)
      : w_(args.w), first_(args.first_n + first), rows_(std::min(kStrip, args.n - first)), buffer_(buffer) {
    constexpr bool kAsItIs = (format == Format::kBF16 && !kInt) || (format == Format::kI8 && kInt);
    direct_ = kAsItIs && rows_ == kStrip && w_.row_bytes() % kLine == 0;
  }

  // Bytes [begin, begin + bytes) of the strip's rows, in the tiles' format.
  void open(int64_t begin, int64_t bytes) {
    if (direct_) {
      at_ = w_.data + first_ * w_.row_bytes() + begin;
      return;
    }
    at_ = buffer_;
    for (int64_t r = 0; r < kStrip; ++r) {
      std::byte* row = buffer_ + r * kChunkStride;
      if (r < rows_) {
        unpack_row<format, kInt>(w_, first_ + r, begin, bytes, row);
      } else {
        std::memset(row, 0, static_cast<size_t>(bytes));
      }
    }
  }
  const std::byte* at() const { return at_; }
  int64_t stride() const { return direct_ ? w_.row_bytes() : kChunkStride; }
  int64_t rows() const { return rows_; }
  const std::byte* next() const { return direct_ ? at_ + kStrip * w_.row_bytes() : nullptr; }

  // The scales of block b, one for each of 32 rows.
  void scales(int64_t b, float (&scale)[kStrip]) const {
    for (int64_t r = 0; r < kStrip; ++r) {
      const int64_t row = w_.first_row + first_ + std::min(r, rows_ - 1);
      scale[r] = w_.scale[row / w_.block_rows * w_.scale_cols() + b];
    }
  }

 private:
  const Weight& w_;
  int64_t first_, rows_;
  std::byte* buffer_;
  const std::byte* at_ = nullptr;
  bool direct_ = false;
};

// Transposes finished results into c. Integers without blocks become floats here, with their one scale.
template <bool kInt>
void write_results(const ProductArgs& args, int64_t first_row, int64_t first_col, int64_t cols,
                   const Pair& pair, const ResultTile* tiles, const float* scale, bool integers) {
  for (int64_t t = 0; t < 4; ++t) {
    const int64_t p = t / 2, rows = pair.rows[p], col = t % 2 * 16, count = std::min<int64_t>(cols - col, 16);
    if (rows == 0 || count <= 0) continue;
    const int64_t row = first_row + p * kPanelRows;
    __m512 a_scale = _mm512_set1_ps(1.0F);
    if (args.a_scale) a_scale = load_floats(args.a_scale + row, rows);
    __m512i r[16];
    for (int64_t i = 0; i < 16; ++i) {
      __m512 value = _mm512_loadu_ps(tiles[t][i]);
      if (integers) value = as_floats<kInt>(tiles[t][i]);
      if (scale) value = _mm512_mul_ps(value, _mm512_set1_ps(scale[col + i]));
      if (kInt)
        value = _mm512_mul_ps(_mm512_add_ps(value, _mm512_setzero_ps()), a_scale);  // + 0: as i8.ref.cc sums
      r[i] = _mm512_castps_si512(value);
    }
    transpose_16(r);
    const auto mask = static_cast<__mmask16>((1U << count) - 1);
    for (int64_t i = 0; i < rows; ++i) {
      _mm512_mask_storeu_ps(args.c + (row + i) * args.ldc + first_col + col, mask, _mm512_castsi512_ps(r[i]));
    }
  }
}

// Bytes of a tile row that one block of the weight's scales covers; 0: there is one scale, or none.
template <bool kInt>
int64_t scaled_bytes(const Weight& w) {
  if (w.scale == nullptr || w.block_cols >= w.in_features) return 0;
  return w.block_cols * (kInt ? 1 : 2);
}

// All of K for the strip times up to kPairs pairs.
template <Format format, bool kInt>
void multiply_group(const ProductArgs& args, Strip<format, kInt>& strip, int64_t first_row,
                    int64_t first_col) {
  alignas(64) ResultTile results[kPairs][4];
  const int64_t row_bytes = kInt ? ref::i8_row_bytes(args.w.in_features) : bf16_row_bytes(args.w.in_features);
  const int64_t pairs = std::min(kPairs, (args.m - first_row + 31) / 32), block = scaled_bytes<kInt>(args.w);
  const int64_t whole = block > 0 ? block : pairs == 1 ? kSmallChunk : kChunk;
  if (block > 0 || args.m - first_row < 32 * pairs)
    std::memset(results, 0, sizeof results[0] * static_cast<size_t>(pairs));
  float scale[kStrip];
  if (pairs == 1) configure(pair_at(args, row_bytes, first_row));
  for (int64_t begin = 0; begin < row_bytes; begin += whole) {
    const int64_t bytes = std::min(whole, row_bytes - begin);
    strip.open(begin, bytes);
    if (block > 0) strip.scales(begin / block, scale);
    for (int64_t i = 0; i < pairs; ++i) {
      const Pair pair = pair_at(args, row_bytes, first_row + 32 * i);
      const bool two = pair.width[1] > 0;
      if (pairs > 1 && (i == 0 || i + 1 == pairs)) configure(pair);
      if (begin == 0 || block > 0) {
        zero_results();
      } else if (pairs > 1) {
        load_results(results[i], two);
      }
      dot_lines<kInt>(strip.at(), strip.stride(), pair, begin, bytes / kLine,
                      pairs == 1 ? strip.next() : nullptr);
      if (block > 0) {
        alignas(64) ResultTile product[4];
        store_results(product, two);
        add_scaled_block<kInt>(product, scale, two, results[i]);
      } else if (pairs > 1 || begin + bytes == row_bytes) {
        store_results(results[i], two);
      }
    }
  }
  const bool one_scale = args.w.scale != nullptr && block == 0;
  if (one_scale) strip.scales(0, scale);
  for (int64_t i = 0; i < pairs; ++i) {
    write_results<kInt>(args, first_row + 32 * i, first_col, strip.rows(),
                        pair_at(args, row_bytes, first_row + 32 * i), results[i], one_scale ? scale : nullptr,
                        kInt && block == 0);
  }
}

template <Format format, bool kInt>
void gemm(const ProductArgs& args) noexcept {
  alignas(64) std::byte buffer[kStrip * kChunkStride];
  for (int64_t col = 0; col < args.n; col += kStrip) {
    for (int64_t row = 0; row < args.m; row += 32 * kPairs) {
      Strip<format, kInt> strip(args, col, buffer);
      multiply_group(args, strip, row, col);
    }
  }
  release_tiles();
}

}  // namespace

int64_t bf16_row_bytes(int64_t k) noexcept {
  return kernels::bf16_row_bytes(k);
}
void pack_bf16(const PackArgs& args) noexcept {
  interleave_rows(args.m, kernels::bf16_row_bytes(args.k), args.packed,
                  [&](int64_t i, int64_t b) { return bf16_line(row_of(args, i) + b / 2, args.k - b / 2); });
}

void pack_i8(const PackArgs& args) noexcept {
  __m512 inverse[kPanelRows];
  for (int64_t i = 0; i < args.m; ++i) {
    const float largest = largest_of(row_of(args, i), args.k);
    args.scale[i] = largest / 127.0F;
    inverse[i] = _mm512_set1_ps(inverse_of(largest));
  }
  interleave_rows(args.m, ref::i8_row_bytes(args.k), args.packed,
                  [&](int64_t i, int64_t b) { return i8_line(row_of(args, i) + b, args.k - b, inverse[i]); });
}

template <Format format>
void gemm_bf16(const ProductArgs& args) noexcept {
  gemm<format, false>(args);
}
template <Format format>
void gemm_i8(const ProductArgs& args) noexcept {
  gemm<format, true>(args);
}

template void gemm_bf16<Format::kBF16>(const ProductArgs&) noexcept;
template void gemm_bf16<Format::kF8E4M3>(const ProductArgs&) noexcept;
template void gemm_bf16<Format::kI8>(const ProductArgs&) noexcept;
template void gemm_i8<Format::kI8>(const ProductArgs&) noexcept;
template void gemm_i8<Format::kI4>(const ProductArgs&) noexcept;

}  // namespace hadal::kernels::amx

#include "hadal/kernels/target_end.inc"
