#include "hadal/kernels/kernel_table.h"

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "hadal/core/error.h"
#include "hadal/core/machine.h"
#include "hadal/kernels/ref.h"
#include "hadal/kernels/rows.h"

namespace hadal::kernels {
namespace {

const KernelTable& choose() {
  const std::span<const KernelTable* const> tables = runnable_tables();
  const char* wanted = std::getenv("HADAL_ISA");
  if (wanted == nullptr) return *tables.back();
  std::string known;
  for (const KernelTable* table : tables) {
    if (std::string_view(wanted) == table->isa) return *table;
    known += known.empty() ? table->isa : std::string(", ") + table->isa;
  }
  fail(ErrorKind::kUsage, "HADAL_ISA\n  expected  one of: {}\n  found     {}", known, wanted);
}

}  // namespace

std::span<const KernelTable* const> runnable_tables() {
  static const std::vector<const KernelTable*> tables = [] {
    const CpuFeatures& cpu = cpu_features();
    std::vector<const KernelTable*> runnable = {&ref_table()};
#if defined(__x86_64__)
    const bool avx2 = cpu.avx2 && cpu.fma && cpu.f16c;  // Haswell, Zen and later
    if (avx2) runnable.push_back(&avx2_table());
    if (avx2 && cpu.avx_vnni) runnable.push_back(&avx2_vnni_table());
    const bool avx512 = cpu.avx512 && cpu.avx512_vnni && cpu.avx512_vbmi;  // Ice Lake, Zen 4 and later
    if (avx512) runnable.push_back(&avx512_table());
    if (avx512 && cpu.amx_tile && cpu.amx_int8 && cpu.amx_bf16) runnable.push_back(&amx_table());
#endif
    return runnable;
  }();
  return tables;
}

const KernelTable& kernels() {
  static const KernelTable& chosen = choose();
  return chosen;
}

}  // namespace hadal::kernels
