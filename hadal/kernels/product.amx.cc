// Products on AMX tiles. The weight is the A operand, sixteen of its rows as they lie in memory, and the activations are
// the B operand, packed by panels of up to sixteen rows: so a checkpoint's bytes are used where they are mapped, and a
// single row costs what it must, the reading of the weight. A tile of results is transposed when it is done.
//
// The work is a sequence of items, each a strip of 32 weight rows by a chunk of K. While an item is multiplied with all
// panels, the next one is unpacked into a second buffer, a few lines after each step of the tiles; and the strip after
// that is on its way from memory.
//
// Tiles: 0-3 results (weight rows 0-15 and 16-31 of a strip, times panel 0 and panel 1), 4 and 5 weights, 6 and 7 panels.
#include <algorithm>
#include <bit>
#include <cstring>

#include "hadal/kernels/amx.h"
#include "hadal/kernels/avx512.h"
#include "hadal/kernels/avx512_pack.h"
#include "hadal/kernels/tiles.h"
#include "hadal/kernels/unpack_amx.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels::amx {
namespace {

constexpr int64_t kStrip = 32;  // weight rows at a time: two tiles
constexpr int64_t kChunk =
    4096;  // bytes of a row that are unpacked at a time: two chunks of 32 rows stay in L2
constexpr int64_t kSmallChunk = 512;               // the same for one pair of panels: two chunks stay in L1
constexpr int64_t kMaxPairs = 8;                   // pairs of panels, whose results are open at the same time
constexpr int64_t kGroupBytes = int64_t{1} << 20;  // of their activations: half of L2
// Numbers of a result that no cache will keep until it is read: written past the caches, whose lines would otherwise be
// fetched from memory first.
constexpr int64_t kStreamed = int64_t{1} << 18;

// 16 x 16 results as a tile stores them: weight row by weight row, [16][width].
using ResultTile = float[256];

// A strip's columns by bytes of the tiles' format, times up to 2 kMaxPairs panels from activation row `row`.
struct Item {
  int64_t strip = 0, row = 0, begin = 0, bytes = 0;
};

// The up to 32 rows of activations that two tiles hold, from some line of K.
struct Pair {
  const std::byte* b[2];
  int64_t rows[2];
  int64_t line_bytes;  // of one of a tile's lines: 4 x the width of a panel
};

template <bool kInt, int kC, int kA, int kB>
void tile_dot() {
  if constexpr (kInt) {
    tile_dot_i8<kC, kA, kB>();
  } else {
    tile_dot_bf16<kC, kA, kB>();
  }
}

void zero_results(bool two) {
  tile_zero<0>();
  tile_zero<1>();
  if (!two) return;
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
void store_results(ResultTile* tiles, bool two, int64_t line_bytes) {
  tile_store<0>(tiles[0], line_bytes);
  tile_store<1>(tiles[1], line_bytes);
  if (!two) return;
  tile_store<2>(tiles[2], line_bytes);
  tile_store<3>(tiles[3], line_bytes);
}

template <bool kInt>
__m512 as_floats(__m512 bits) {
  if constexpr (kInt) return _mm512_cvtepi32_ps(_mm512_castps_si512(bits));
  return bits;
}

// sums[t][i] += block[t][i] * the scale of i's weight row, for tiles of rows 16 wide or narrower.
template <bool kInt>
void add_scaled(const float* block, __m512 scale, float* sums) {
  const __m512 scaled = _mm512_mul_ps(as_floats<kInt>(_mm512_loadu_ps(block)), scale);
  _mm512_storeu_ps(sums, _mm512_add_ps(_mm512_loadu_ps(sums), scaled));
}
template <bool kInt>
void add_scaled_block(const ResultTile* block, const float* scale, bool two, int64_t width,
                      ResultTile* sums) {
  for (int64_t t = 0; t < (two ? 4 : 2); ++t) {
    const float* row_scale = scale + t % 2 * 16;
    if (width == 16) {
      for (int64_t r = 0; r < 16; ++r)
        add_scaled<kInt>(block[t] + 16 * r, _mm512_set1_ps(row_scale[r]), sums[t] + 16 * r);
      continue;
    }
    const __m512 scales = _mm512_loadu_ps(row_scale);
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m128i shift = _mm_cvtsi32_si128(std::countr_zero(static_cast<uint64_t>(width)));
    for (int64_t i = 0; i < 16 * width; i += 16) {
      const __m512i row =
          _mm512_srl_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(i))), shift);
      add_scaled<kInt>(block[t] + i, _mm512_permutexvar_ps(row, scales), sums[t] + i);
    }
  }
}

// Where an item's weights are for the tiles: in the checkpoint's own bytes, or unpacked into a buffer, bit by bit while
// the tiles are busy with the item before.
template <Format format, bool kInt>
class Source {
 public:
  Source(const ProductArgs& args, std::byte* buffer)
      : args_(args), w_(args.w), rows_of_(args.w), buffer_(buffer) {}

  void open(const Item& item) {
    constexpr bool kAsItIs = (format == Format::kBF16 && !kInt) || (format == Format::kI8 && kInt);
    item_ = item;
    rows_ = std::min(kStrip, args_.n - item.strip);
    direct_ = kAsItIs && rows_ == kStrip && rows_of_.row_bytes % kLine == 0;
    // What lies behind the last strip is another thread's.
    ahead_ = item.strip + 2 * kStrip <= args_.n ? kStrip * rows_of_.row_bytes : 0;
    row_ = line_ = 0;
  }
  int64_t lines() const { return kStrip * item_.bytes / kLine; }

  // Unpacks the next `count` lines, an even number, or brings them into the cache; nothing if the item is complete.
  void feed(int64_t count) {
    const int64_t lines = item_.bytes / kLine;
    while (count > 0 && row_ < kStrip) {
      const int64_t some = std::min(count, lines - line_);
      feed_row(some);
      count -= some;
      line_ += some;
      if (line_ < lines) continue;
      line_ = 0;
      ++row_;
    }
  }

  const std::byte* at() const { return direct_ ? weights() : buffer_; }
  int64_t stride() const {
    return direct_ ? rows_of_.row_bytes : item_.bytes + kLine;
  }  // never a power of two

  // The scales of block b, one for each of 32 rows.
  void scales(int64_t b, float (&scale)[kStrip]) const {
    for (int64_t r = 0; r < kStrip; ++r) {
      const int64_t row = w_.first_row + args_.first_n + item_.strip + std::min(r, rows_ - 1);
      scale[r] = w_.scale[row / w_.block_rows * w_.scale_cols() + b];
    }
  }

 private:
  const std::byte* weights() const {
    return w_.data + (args_.first_n + item_.strip) * rows_of_.row_bytes + item_.begin;
  }
  void feed_row(int64_t lines) {
    const int64_t begin = line_ * kLine;
    std::byte* to = buffer_ + row_ * stride() + begin;
    if (direct_) {
      const std::byte* from = weights() + row_ * rows_of_.row_bytes + begin;
      for (int64_t i = 0; i < lines; ++i) bring(from + i * kLine);
    } else if (row_ < rows_) {
      unpack_row<format, kInt>(rows_of_, args_.first_n + item_.strip + row_, item_.begin + begin,
                               lines * kLine, ahead_, to);
    } else {
      std::memset(to, 0, static_cast<size_t>(lines * kLine));
    }
  }

  const ProductArgs& args_;
  const Weight& w_;
  const RowSource rows_of_;
  Item item_;
  std::byte* buffer_;
  int64_t rows_ = 0, ahead_ = 0, row_ = kStrip, line_ = 0;
  bool direct_ = false;
};

template <Format format, bool kInt>
class Gemm {
 public:
  explicit Gemm(const ProductArgs& args)
      : args_(args),
        row_bytes_(kInt ? ref::i8_row_bytes(args.w.in_features)
                        : kernels::bf16_row_bytes(args.w.in_features)),
        width_(args.m > kPanelRows ? kPanelRows : packed_rows(args.m)),
        block_(scaled_bytes(args.w)),
        pairs_(std::clamp<int64_t>(kGroupBytes / (32 * row_bytes_), 2, kMaxPairs)),
        streams_(args.m * args.ldc >= kStreamed && args.ldc % 16 == 0 &&
                 std::bit_cast<uintptr_t>(args.c) % kLine == 0) {}

  void run() {
    configure();
    Source<format, kInt> sources[2] = {{args_, buffer_}, {args_, buffer_ + kStrip * (kChunk + kLine)}};
    int at = 0;
    Item item = item_at(0, 0, 0);
    sources[at].open(item);
    sources[at].feed(sources[at].lines());
    while (item.row < args_.m) {
      const Item next = after(item);
      Source<format, kInt>& coming = sources[1 - at];
      if (next.row < args_.m) coming.open(next);
      multiply(item, sources[at], coming);
      coming.feed(coming.lines());
      item = next;
      at = 1 - at;
    }
    release_tiles();
    if (streams_) _mm_sfence();
  }

 private:
  // Bytes of a tile row that one block of the weight's scales covers; 0: there is one scale, or none.
  static int64_t scaled_bytes(const Weight& w) {
    if (w.scale == nullptr || w.block_cols >= w.in_features) return 0;
    return w.block_cols * (kInt ? 1 : 2);
  }

  void configure() const {
    TileConfig config;
    for (const int tile : {0, 1, 2, 3, 6, 7}) config.row_bytes[tile] = static_cast<uint16_t>(4 * width_);
    config.row_bytes[4] = config.row_bytes[5] = kLine;
    std::fill_n(config.rows, 8, uint8_t{16});
    configure_tiles(config);
  }

  int64_t pairs_from(int64_t row) const { return std::min(pairs_, (args_.m - row + 31) / 32); }
  Item item_at(int64_t strip, int64_t row, int64_t begin) const {
    const int64_t chunk = std::max(pairs_from(row) == 1 ? kSmallChunk : kChunk, block_);
    return {strip, row, begin, std::min(chunk, row_bytes_ - begin)};
  }
  // Rows of activations come last: a group of them stays in the cache while all strips go by.
  Item after(const Item& item) const {
    if (item.begin + item.bytes < row_bytes_) return item_at(item.strip, item.row, item.begin + item.bytes);
    if (item.strip + kStrip < args_.n) return item_at(item.strip + kStrip, item.row, 0);
    return item_at(0, item.row + 32 * pairs_, 0);
  }
  Pair pair_at(int64_t row, int64_t begin) const {
    Pair pair;
    pair.line_bytes = 4 * width_;
    for (int64_t p = 0; p < 2; ++p) {
      const int64_t first = row + p * kPanelRows;
      pair.rows[p] = std::clamp<int64_t>(args_.m - first, 0, kPanelRows);
      pair.b[p] = args_.a + first * row_bytes_ + begin * width_;
    }
    return pair;
  }

  // An item times all its pairs. Results of several pairs are open from chunk to chunk, those of one stay in the tiles.
  void multiply(const Item& item, const Source<format, kInt>& source, Source<format, kInt>& coming) {
    const int64_t pairs = pairs_from(item.row), steps = pairs * item.bytes / kLine;
    share_ = (coming.lines() + 2 * steps - 1) / (2 * steps) * 2;
    const bool first = item.begin == 0, last = item.begin + item.bytes == row_bytes_;
    for (int64_t i = 0; i < pairs; ++i) {
      const Pair pair = pair_at(item.row + 32 * i, item.begin);
      const bool two = pair.rows[1] > 0;
      if (block_ > 0) {
        if (first) std::memset(results_[i], 0, sizeof results_[i]);
        multiply_blocks(item, source, pair, results_[i], coming);
      } else {
        if (first) {
          zero_results(two);
        } else if (pairs > 1) {
          load_results(results_[i], two);
        }
        dot(source, 0, item.bytes / kLine, pair, coming);
        if (pairs > 1 || last) store_results(results_[i], two, pair.line_bytes);
      }
    }
    if (last) write(item, source);
  }

  // The same where each block of columns has scales of its own. A block's results are scaled while the tiles are at the
  // next one.
  void multiply_blocks(const Item& item, const Source<format, kInt>& source, const Pair& pair,
                       ResultTile* sums, Source<format, kInt>& coming) {
    alignas(64) ResultTile product[2][4];
    float scale[2][kStrip];
    const bool two = pair.rows[1] > 0;
    int64_t b = 0;
    for (int64_t begin = 0; begin < item.bytes; begin += block_, ++b) {
      source.scales((item.begin + begin) / block_, scale[b % 2]);
      zero_results(two);
      dot(source, begin / kLine, std::min(block_, item.bytes - begin) / kLine, pair, coming);
      store_results(product[b % 2], two, pair.line_bytes);
      if (b > 0) add_scaled_block<kInt>(product[(b - 1) % 2], scale[(b - 1) % 2], two, width_, sums);
    }
    add_scaled_block<kInt>(product[(b - 1) % 2], scale[(b - 1) % 2], two, width_, sums);
  }

  void dot(const Source<format, kInt>& source, int64_t first_line, int64_t lines, const Pair& pair,
           Source<format, kInt>& coming) const {
    if (pair.rows[1] > 0) {
      dot_lines<true>(source, first_line, lines, pair, coming);
    } else {
      dot_lines<false>(source, first_line, lines, pair, coming);
    }
  }

  // Results += weights x activations over some lines of K.
  template <bool kTwo>
  void dot_lines(const Source<format, kInt>& source, int64_t first_line, int64_t lines, const Pair& pair,
                 Source<format, kInt>& coming) const {
    const int64_t stride = source.stride(), line_bytes = pair.line_bytes;
    const std::byte* weights = source.at() + first_line * kLine;
    const std::byte* b0 = pair.b[0] + first_line * 16 * line_bytes;
    const std::byte* b1 = pair.b[1] + first_line * 16 * line_bytes;
    for (int64_t line = 0; line < lines; ++line) {
      tile_load<4>(weights + line * kLine, stride);
      tile_load<6>(b0 + line * 16 * line_bytes, line_bytes);
      tile_dot<kInt, 0, 4, 6>();
      tile_load<5>(weights + 16 * stride + line * kLine, stride);
      tile_dot<kInt, 1, 5, 6>();
      if constexpr (kTwo) {
        tile_load<7>(b1 + line * 16 * line_bytes, line_bytes);
        tile_dot<kInt, 2, 4, 7>();
        tile_dot<kInt, 3, 5, 7>();
      }
      coming.feed(share_);
    }
  }

  void write(const Item& item, const Source<format, kInt>& source) const {
    const bool one_scale = args_.w.scale != nullptr && block_ == 0;
    float scale[kStrip];
    if (one_scale) source.scales(0, scale);
    for (int64_t i = 0; i < pairs_from(item.row); ++i) {
      for (int64_t t = 0; t < 4; ++t) {
        const int64_t row = item.row + 32 * i + t / 2 * kPanelRows, col = item.strip + t % 2 * 16;
        if (row < args_.m && col < args_.n) {
          write_tile(results_[i][t], row, col, one_scale ? scale + t % 2 * 16 : nullptr);
        }
      }
    }
  }

  // Transposes finished results into c. Integers without blocks become floats here, with their one scale.
  void write_tile(const ResultTile& tile, int64_t first_row, int64_t col, const float* scale) const {
    const int64_t rows = std::min(kPanelRows, args_.m - first_row),
                  count = std::min<int64_t>(args_.n - col, 16);
    const auto panel = static_cast<__mmask16>((1U << width_) - 1);
    const __m512 a_scale =
        args_.a_scale ? load_floats(args_.a_scale + first_row, rows) : _mm512_set1_ps(1.0F);
    __m512i r[16];
    for (int64_t i = 0; i < 16; ++i) {
      __m512 value = _mm512_maskz_loadu_ps(panel, tile + i * width_);
      if (block_ == 0) value = as_floats<kInt>(value);
      if (scale) value = _mm512_mul_ps(value, _mm512_set1_ps(scale[i]));
      if (kInt)
        value = _mm512_mul_ps(_mm512_add_ps(value, _mm512_setzero_ps()), a_scale);  // + 0: as i8.ref.cc sums
      r[i] = _mm512_castps_si512(value);
    }
    transpose_16(r);
    const auto mask = static_cast<__mmask16>((1U << count) - 1);
    float* c = args_.c + first_row * args_.ldc + col;
    const bool streams = streams_ && count == 16;
    for (int64_t i = 0; i < rows; ++i, c += args_.ldc) {
      if (streams) {
        _mm512_stream_ps(c, _mm512_castsi512_ps(r[i]));
      } else {
        _mm512_mask_storeu_ps(c, mask, _mm512_castsi512_ps(r[i]));
      }
    }
  }

  const ProductArgs& args_;
  int64_t row_bytes_, width_, block_, pairs_, share_ = 0;
  bool streams_;
  alignas(64) ResultTile results_[kMaxPairs][4];
  alignas(64) std::byte buffer_[2 * kStrip * (kChunk + kLine)];
};

template <Format format, bool kInt>
void gemm(const ProductArgs& args) noexcept {
  Gemm<format, kInt>(args).run();
}

}  // namespace

int64_t bf16_row_bytes(int64_t k) noexcept {
  return kernels::bf16_row_bytes(k);
}
void pack_bf16(const PackArgs& args) noexcept {
  interleave_rows(args.m, args.total_m, kernels::bf16_row_bytes(args.k), args.packed,
                  [&](int64_t i, int64_t b) { return bf16_line(row_of(args, i) + b / 2, args.k - b / 2); });
}

void pack_i8(const PackArgs& args) noexcept {
  __m512 inverse[kPanelRows];
  for (int64_t i = 0; i < args.m; ++i) {
    const float largest = largest_of(row_of(args, i), args.k);
    args.scale[i] = largest / 127.0F;
    inverse[i] = _mm512_set1_ps(inverse_of(largest));
  }
  interleave_rows(args.m, args.total_m, ref::i8_row_bytes(args.k), args.packed,
                  [&](int64_t i, int64_t b) { return i8_line(row_of(args, i) + b, args.k - b, inverse[i]); });
}

// Tiles take denormal numbers as zero; so must what scales their results, and what does without tiles.
template <Format format>
void gemm_bf16(const ProductArgs& args) noexcept {
  const DenormalsAreZero everywhere;
  if (format == Format::kF8E4M3 && args.m <= kFewRows) return gemm_f8_few(args);
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
