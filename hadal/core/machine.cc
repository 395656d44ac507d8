#include "hadal/core/machine.h"

#include <array>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace hadal {
namespace {

#if defined(__x86_64__)

struct Cpuid {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// Zeros for a leaf that the processor does not have.
Cpuid cpuid(uint32_t leaf, uint32_t subleaf) {
  Cpuid r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

bool bit(uint32_t word, int index) {
  return (word >> index & 1U) != 0;
}

// Which register files the operating system saves and restores (XCR0). As assembly: the intrinsic needs -mxsave.
uint64_t saved_registers() {
  if (!bit(cpuid(1, 0).ecx, 27)) return 0;  // no OSXSAVE: xgetbv is not an instruction
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

constexpr uint64_t kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000;  // with all that lies below them

// Tile data is 8 KiB a thread, which Linux keeps room for only in processes that ask.
bool request_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

CpuFeatures detect() {
  CpuFeatures found;
  const uint64_t saved = saved_registers();
  const Cpuid one = cpuid(1, 0), seven = cpuid(7, 0), seven1 = cpuid(7, 1);
  if ((saved & kYmm) == kYmm && bit(one.ecx, 28)) {
    found.avx2 = bit(seven.ebx, 5);
    found.fma = bit(one.ecx, 12);
    found.f16c = bit(one.ecx, 29);
    found.avx_vnni = bit(seven1.eax, 4);
  }
  if ((saved & kZmm) == kZmm) {
    found.avx512 = bit(seven.ebx, 16) && bit(seven.ebx, 30) && bit(seven.ebx, 31) && bit(seven.ebx, 17) &&
                   bit(seven.ebx, 28);
    found.avx512_vnni = found.avx512 && bit(seven.ecx, 11);
    found.avx512_bf16 = found.avx512 && bit(seven1.eax, 5);
    found.avx512_vbmi = found.avx512 && bit(seven.ecx, 1);
    found.avx512_fp16 = found.avx512 && bit(seven.edx, 23);
  }
  if ((saved & kTiles) == kTiles && bit(seven.edx, 24)) {
    found.amx_tile = request_tiles();
    found.amx_refused = !found.amx_tile;
    found.amx_int8 = found.amx_tile && bit(seven.edx, 25);
    found.amx_bf16 = found.amx_tile && bit(seven.edx, 22);
  }
  return found;
}

#else

CpuFeatures detect() {
  return {};
}

#endif

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures found = detect();
  return found;
}

std::string cpu_name() {
#if defined(__x86_64__)
  constexpr uint32_t kFirst = 0x80000002U, kLeaves = 3;
  std::array<char, kLeaves * sizeof(Cpuid) + 1> text{};  // zero-terminated, whatever the processor says
  for (uint32_t i = 0; i < kLeaves; ++i) {
    const Cpuid part = cpuid(kFirst + i, 0);
    std::memcpy(text.data() + i * sizeof part, &part, sizeof part);
  }
  const std::string name = text.data();
  const size_t begin = name.find_first_not_of(' ');
  if (begin == std::string::npos) return "";
  return name.substr(begin, name.find_last_not_of(' ') - begin + 1);
#else
  return "";
#endif
}

}  // namespace hadal
