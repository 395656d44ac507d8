#include "hadal/core/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "hadal/core/buffer.h"
#include "hadal/core/machine.h"
#include "hadal/core/memory.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hadal {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// A loop of one instruction on many accumulators: runs it n times on each, returns the operations of one round.
using Loop = double (*)(int64_t n);

double plain_f32(int64_t n) {
  constexpr int kLanes = 32;
  float sum[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) {
    const auto x = static_cast<float>(i);
    for (float& lane : sum) lane = lane * 0.5F + x;
  }
  volatile float keep = sum[0] + sum[kLanes - 1];
  static_cast<void>(keep);
  return 2.0 * kLanes;
}

#if defined(__x86_64__)

constexpr int kAccumulators =
    12;  // latency 4-5 times two ports, and the 16 registers of AVX2 are not exceeded

// NOLINTBEGIN(bugprone-macro-parentheses): Vector is a type
// The body of a loop: `value` updates acc[j] from a and b, which the compiler must take for unknown.
#define HADAL_PEAK_LOOP(Vector, zero, load, value, operations)           \
  Vector acc[kAccumulators];                                             \
  for (auto& each : acc) each = zero;                                    \
  Vector a = load, b = load;                                             \
  __asm__ volatile("" : "+x"(a), "+x"(b));                               \
  for (int64_t i = 0; i < n; ++i) {                                      \
    for (int j = 0; j < kAccumulators; ++j) acc[j] = value;              \
    __asm__ volatile("" : "+x"(a));                                      \
  }                                                                      \
  for (auto& each : acc) __asm__ volatile("" ::"x"(each)); /* is used */ \
  return (operations)*kAccumulators
// NOLINTEND(bugprone-macro-parentheses)

__attribute__((target("avx2,fma"))) double avx2_f32(int64_t n) {
  HADAL_PEAK_LOOP(__m256, _mm256_setzero_ps(), _mm256_set1_ps(0.5F), _mm256_fmadd_ps(a, b, acc[j]), 16.0);
}

// Three instructions for 32 products: bytes to pairs, pairs to fours, and the sum.
__attribute__((target("avx2"))) double avx2_int8(int64_t n) {
  const __m256i ones = _mm256_set1_epi16(1);
  HADAL_PEAK_LOOP(__m256i, _mm256_setzero_si256(), _mm256_set1_epi8(1),
                  _mm256_add_epi32(acc[j], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones)), 64.0);
}

__attribute__((target("avx2,avxvnni"))) double avx_vnni_int8(int64_t n) {
  HADAL_PEAK_LOOP(__m256i, _mm256_setzero_si256(), _mm256_set1_epi8(1), _mm256_dpbusd_avx_epi32(acc[j], a, b),
                  64.0);
}

__attribute__((target("avx512f"))) double avx512_f32(int64_t n) {
  HADAL_PEAK_LOOP(__m512, _mm512_setzero_ps(), _mm512_set1_ps(0.5F), _mm512_fmadd_ps(a, b, acc[j]), 32.0);
}

__attribute__((target("avx512f,avx512vnni"))) double avx512_int8(int64_t n) {
  HADAL_PEAK_LOOP(__m512i, _mm512_setzero_si512(), _mm512_set1_epi8(1), _mm512_dpbusd_epi32(acc[j], a, b),
                  128.0);
}

__attribute__((target("avx512f,avx512bf16"))) double avx512_bf16(int64_t n) {
  HADAL_PEAK_LOOP(__m512, _mm512_setzero_ps(), _mm512_set1_ps(0.5F),
                  _mm512_dpbf16_ps(acc[j], reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)),
                  64.0);
}

#undef HADAL_PEAK_LOOP

struct TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Assembly, as GCC 12's intrinsic for the configuration may pass one that has not been written yet.
#define HADAL_TILE_LOOP(instruction)                                                                      \
  const TileConfig config;                                                                                \
  __asm__ volatile("ldtilecfg %0" ::"m"(config) : "memory");                                              \
  for (int64_t i = 0; i < n; ++i) {                                                                       \
    __asm__ volatile(instruction " %%tmm7, %%tmm6, %%tmm0\n\t" instruction                                \
                                 " %%tmm7, %%tmm6, %%tmm1\n\t" instruction                                \
                                 " %%tmm7, %%tmm6, %%tmm2\n\t" instruction " %%tmm7, %%tmm6, %%tmm3" ::); \
  }                                                                                                       \
  __asm__ volatile("tilerelease" ::)

__attribute__((target("amx-tile,amx-bf16"))) double amx_bf16(int64_t n) {
  HADAL_TILE_LOOP("tdpbf16ps");
  return 4 * 2.0 * 16 * 16 * 32;
}

__attribute__((target("amx-tile,amx-int8"))) double amx_int8(int64_t n) {
  HADAL_TILE_LOOP("tdpbusd");
  return 4 * 2.0 * 16 * 16 * 64;
}

#undef HADAL_TILE_LOOP

// The fastest loop of a unit that this machine can run.
Loop best_loop(Unit unit) {
  const CpuFeatures& cpu = cpu_features();
  const Loop f32 = cpu.avx512 ? avx512_f32 : cpu.avx2 && cpu.fma ? avx2_f32 : plain_f32;
  switch (unit) {
    case Unit::kF32:
      return f32;
    case Unit::kBF16:
      return cpu.amx_bf16 ? amx_bf16 : cpu.avx512_bf16 ? avx512_bf16 : f32;
    case Unit::kInt8:
      break;
  }
  if (cpu.amx_int8) return amx_int8;
  if (cpu.avx512_vnni) return avx512_int8;
  if (cpu.avx_vnni) return avx_vnni_int8;
  return cpu.avx2 ? avx2_int8 : f32;
}

__attribute__((target("avx2"))) uint64_t read_avx2(const std::byte* data, int64_t bytes) {
  constexpr int64_t kAhead = 4096;  // the hardware prefetcher stops at each page; this one does not
  __m256i sum[4] = {};
  for (int64_t i = 0; i + 128 <= bytes; i += 128) {
    _mm_prefetch(reinterpret_cast<const char*>(data + i + kAhead), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(data + i + kAhead + 64), _MM_HINT_T0);
    for (int j = 0; j < 4; ++j) {
      sum[j] = _mm256_xor_si256(sum[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + i) + j));
    }
  }
  const __m256i all = _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3]));
  return static_cast<uint64_t>(_mm256_extract_epi64(all, 0));
}

#else

Loop best_loop(Unit) {
  return plain_f32;
}

#endif

uint64_t read_plain(const std::byte* data, int64_t bytes) {
  uint64_t sum[8] = {};
  for (int64_t i = 0; i + 64 <= bytes; i += 64) {
    uint64_t line[8];
    std::memcpy(line, data + i, sizeof line);
    for (int j = 0; j < 8; ++j) sum[j] ^= line[j];
  }
  uint64_t all = 0;
  for (const uint64_t each : sum) all ^= each;
  return all;
}

uint64_t read_all(const std::byte* data, int64_t bytes) {
#if defined(__x86_64__)
  if (cpu_features().avx2) return read_avx2(data, bytes);
#endif
  return read_plain(data, bytes);
}

double measure_reading(ThreadPool& pool) {
  constexpr int64_t kLargest = int64_t{1} << 30, kPiece = int64_t{4} << 20;  // ten times a large L3
  const int64_t bytes = std::min(kLargest, available_memory_bytes() / 4) / kPiece * kPiece;
  const Buffer buffer(std::max(bytes, kPiece));
  parallel_for(pool, buffer.size(), kPiece, [&](int64_t begin, int64_t end) {
    std::memset(buffer.data() + begin, 1, static_cast<size_t>(end - begin));
  });
  double best = 0;
  std::atomic<uint64_t> keep{0};
  for (int repeat = 0; repeat < 3; ++repeat) {
    const auto begin = Clock::now();
    parallel_for(pool, buffer.size(), kPiece,
                 [&](int64_t from, int64_t to) { keep ^= read_all(buffer.data() + from, to - from); });
    best = std::max(best, static_cast<double>(buffer.size()) / seconds_since(begin));
  }
  return best;
}

double measure_unit(ThreadPool& pool, Unit unit) {
  const Loop loop = best_loop(unit);
  constexpr double kSeconds = 0.02;  // of one repeat: many times what it takes to wake the threads
  const auto begin = Clock::now();
  constexpr int64_t kTrial = 10000;
  loop(kTrial);
  const auto n = std::max<int64_t>(1, static_cast<int64_t>(kTrial * kSeconds / seconds_since(begin)));
  double best = 0;
  for (int repeat = 0; repeat < 4; ++repeat) {
    std::atomic<double> operations{0};
    const auto start = Clock::now();
    parallel_for(pool, pool.num_threads(), 1, [&](int64_t from, int64_t to) {
      for (; from < to; ++from) operations += loop(n) * static_cast<double>(n);
    });
    best = std::max(best, operations / seconds_since(start));
  }
  return best;
}

}  // namespace

std::string_view to_string(Unit unit) {
  constexpr std::array<std::string_view, kNumUnits> kNames = {"f32", "bf16", "int8"};
  return kNames[static_cast<size_t>(unit)];
}

Unit unit_of(Format format) {
  switch (format) {
    case Format::kF32:
    case Format::kF16:
      return Unit::kF32;
    case Format::kBF16:
    case Format::kF8E4M3:
      return Unit::kBF16;
    case Format::kI8:
    case Format::kI4:
      return Unit::kInt8;
  }
  return Unit::kF32;
}

MachineLimits measure_limits(ThreadPool& pool) {
  MachineLimits limits;
  limits.read_bytes_per_s = measure_reading(pool);
  for (size_t i = 0; i < kNumUnits; ++i) limits.op_per_s[i] = measure_unit(pool, static_cast<Unit>(i));
  return limits;
}

}  // namespace hadal
