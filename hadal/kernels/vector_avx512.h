#pragma once

// Sixteen floats at a time: what the bodies that the rows share (*.inc) are written in. Included by .avx512.cc files only.

#include <cstdint>

#include <immintrin.h>

#include "hadal/core/weight.h"
#include "hadal/kernels/avx512.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels::vnni {

struct Vector {
  using Floats = __m512;
  static constexpr int64_t kWidth = 16;
  // Sums in registers, of 32: weight rows times activation rows of a product, and columns of a transposed one.
  static constexpr int kRows = 8, kM = 3, kColumns = 16;
  static constexpr int kQueries = 8;  // of attention, times two vectors of a value

  static Floats zero() { return _mm512_setzero_ps(); }
  static Floats set(float x) { return _mm512_set1_ps(x); }
  static Floats load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
  /// The first `count` floats, zeros behind them.
  static Floats load(const float* p, int64_t count) { return _mm512_maskz_loadu_ps(first(count), p); }
  static void store(float* p, int64_t count, Floats x) { _mm512_mask_storeu_ps(p, first(count), x); }

  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
  static Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }

  /// Halves are added until one number is left. Not the compiler's reduction, whose order is the compiler's.
  static float sum(Floats x) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static float largest(Floats x) { return _mm512_reduce_max_ps(x); }
  static Floats exp(Floats x) { return exp_16(x); }
  static Floats round_to_bf16(Floats x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(to_bf16_16(x)), 16));
  }

  /// Weights as floats, exactly; not kI4, and no NaN of kF8E4M3: those are refused at load.
  template <Format format>
  static Floats weights(const std::byte* w) {
    return weights<format>(w, kWidth);
  }
  /// The first `count` weights, zeros behind them. Nothing behind them is read.
  template <Format format>
  static Floats weights(const std::byte* w, int64_t count) {
    const __mmask16 mask = first(count);
    if constexpr (format == Format::kF32) {
      return _mm512_maskz_loadu_ps(mask, w);
    } else if constexpr (format == Format::kBF16) {
      return _mm512_castsi512_ps(
          _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, w)), 16));
    } else if constexpr (format == Format::kF16) {
      return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, w));
    } else if constexpr (format == Format::kI8) {
      return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, w)));
    } else {  // E4M3 is binary16 with a shorter mantissa and an exponent that counts from 7, not from 15
      const __m256i code = _mm256_slli_epi16(_mm256_cvtepi8_epi16(_mm_maskz_loadu_epi8(mask, w)), 7);
      const __m256i half =
          _mm256_and_si256(code, _mm256_set1_epi16(static_cast<int16_t>(0xbfff)));  // one sign
      return _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256.0F));
    }
  }

 private:
  static __mmask16 first(int64_t count) { return static_cast<__mmask16>((1U << count) - 1); }
};

}  // namespace hadal::kernels::vnni

#include "hadal/kernels/target_end.inc"
