#pragma once

// Eight floats at a time: what the bodies that the rows share (*.inc) are written in. Included by .avx2.cc files only.

#include <cstdint>
#include <cstring>

#include <immintrin.h>

#include "hadal/core/weight.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx2_begin.inc"
// clang-format on

namespace hadal::kernels::avx2 {

struct Vector {
  using Floats = __m256;
  static constexpr int64_t kWidth = 8;
  // Sums in registers, of 16: weight rows times activation rows of a product, and columns of a transposed one.
  static constexpr int kRows = 4, kM = 3, kColumns = 8;
  static constexpr int kQueries = 4;  // of attention, times two vectors of a value

  static Floats zero() { return _mm256_setzero_ps(); }
  static Floats set(float x) { return _mm256_set1_ps(x); }
  static Floats load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Floats x) { _mm256_storeu_ps(p, x); }
  /// The first `count` floats, zeros behind them.
  static Floats load(const float* p, int64_t count) { return _mm256_maskload_ps(p, first(count)); }
  static void store(float* p, int64_t count, Floats x) { _mm256_maskstore_ps(p, first(count), x); }

  static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats div(Floats a, Floats b) { return _mm256_div_ps(a, b); }
  static Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }

  /// ((x0 + x4) + (x2 + x6)) + ((x1 + x5) + (x3 + x7))
  static float sum(Floats x) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static float largest(Floats x) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  /// e^x, relative error below 2e-7, as exp_16 in avx512.h; NaN stays NaN.
  static Floats exp(Floats x) {
    x = _mm256_max_ps(set(-126.0F), x);
    x = _mm256_min_ps(set(89.0F), x);
    const Floats n = _mm256_round_ps(mul(x, set(1.44269504F)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    Floats r = _mm256_fnmadd_ps(n, set(0.693145752F), x);  // ln 2, the bits that multiply exactly
    r = _mm256_fnmadd_ps(n, set(1.42860677e-06F), r);      // and the rest of it
    Floats p = set(1.0F / 720.0F);
    for (const float c : {1.0F / 120.0F, 1.0F / 24.0F, 1.0F / 6.0F, 0.5F, 1.0F, 1.0F}) p = fma(p, r, set(c));
    // 2^n in two factors, neither of which leaves the range of floats.
    const __m256i exponent = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(exponent, 1);
    return mul(mul(p, power_of_two(half)), power_of_two(_mm256_sub_epi32(exponent, half)));
  }

  /// BF16 codes in the upper halves, zeros below: exactly as round_to_bf16() of core/dtype.h.
  static __m256i to_bf16(Floats x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_and_si256(_mm256_blendv_epi8(rounded, quiet, nan), _mm256_set1_epi32(-0x10000));
  }
  static Floats round_to_bf16(Floats x) { return _mm256_castsi256_ps(to_bf16(x)); }

  /// Weights as floats, exactly; not kI4, and no NaN of kF8E4M3: those are refused at load.
  template <Format format>
  static Floats weights(const std::byte* w) {
    if constexpr (format == Format::kF32) {
      return load(reinterpret_cast<const float*>(w));
    } else if constexpr (format == Format::kBF16) {
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_16(w)), 16));
    } else if constexpr (format == Format::kF16) {
      return _mm256_cvtph_ps(load_16(w));
    } else if constexpr (format == Format::kI8) {
      return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load_8(w)));
    } else {  // E4M3 is binary16 with a shorter mantissa and an exponent that counts from 7, not from 15
      const __m128i code =
          _mm_slli_epi16(_mm_cvtepi8_epi16(load_8(w)), 7);  // the sign twice, in bits 15 and 14
      return mul(_mm256_cvtph_ps(_mm_and_si128(code, _mm_set1_epi16(static_cast<int16_t>(0xbfff)))),
                 set(256.0F));
    }
  }
  /// The first `count` weights, zeros behind them. Nothing behind them is read.
  template <Format format>
  static Floats weights(const std::byte* w, int64_t count) {
    alignas(32) std::byte some[kWidth * sizeof(float)] = {};
    std::memcpy(some, w, static_cast<size_t>(bytes_per_row(format, count)));
    return weights<format>(some);
  }

 private:
  static __m128i load_8(const std::byte* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
  static __m128i load_16(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static __m256i first(int64_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(count)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Floats power_of_two(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
};

}  // namespace hadal::kernels::avx2

#include "hadal/kernels/target_end.inc"
