#pragma once

// AMX tiles, by instructions of our own. GCC 12's intrinsics lose stores before a tile load and pass ldtilecfg eight of
// its 64 bytes (docs/kernels.md); each statement here orders all memory, and volatile ones keep their order.

#include <cstddef>
#include <cstdint>

#include <xmmintrin.h>

namespace hadal::kernels {

/// While it lives, this thread's vector instructions take denormal numbers as zero, in and out, as those of BF16 tiles do.
class DenormalsAreZero {
 public:
  DenormalsAreZero() : before_(_mm_getcsr()) {
    constexpr unsigned kInputs = 0x40, kResults = 0x8000;  // DAZ and FTZ of MXCSR
    _mm_setcsr(before_ | kInputs | kResults);
  }
  ~DenormalsAreZero() { _mm_setcsr(before_); }
  DenormalsAreZero(const DenormalsAreZero&) = delete;
  DenormalsAreZero& operator=(const DenormalsAreZero&) = delete;

 private:
  unsigned before_;
};

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

inline void configure_tiles(const TileConfig& config) {
  asm volatile("ldtilecfg %0" : : "m"(config) : "memory");
}
inline void release_tiles() {
  asm volatile("tilerelease" : : : "memory");
}

template <int kTile>
inline void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
template <int kTile>
inline void tile_load(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
inline void tile_store(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
}

/// C (16 x n floats) += A (16 rows of 32 BF16) x B (16 rows of n pairs of BF16).
template <int kC, int kA, int kB>
inline void tile_dot_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}
/// C (16 x n 32-bit integers) += A (16 rows of 64 signed bytes) x B (16 rows of n quadruples of signed bytes).
template <int kC, int kA, int kB>
inline void tile_dot_i8() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}

}  // namespace hadal::kernels
