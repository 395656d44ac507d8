#pragma once

#include <string>

namespace hadal {

/// Instruction sets that kernels may use: the processor has them, and the operating system saves their registers. All
/// false on anything but x86-64.
struct CpuFeatures {
  bool avx2 = false, fma = false, f16c = false, avx_vnni = false;
  bool avx512 = false;  // F, BW, VL, DQ and CD together, as in every processor since Skylake-SP
  bool avx512_vnni = false, avx512_bf16 = false, avx512_vbmi = false, avx512_fp16 = false;
  bool amx_tile = false, amx_int8 = false, amx_bf16 = false;
  bool amx_refused = false;  // there, but the kernel did not give this process the tile registers
};

/// Of this machine, found once. The first call asks Linux for the AMX tile registers (arch_prctl), for the whole process.
const CpuFeatures& cpu_features();

/// The processor's own name: "Intel(R) Xeon(R) Platinum 8488C". Empty where it has none.
std::string cpu_name();

}  // namespace hadal
