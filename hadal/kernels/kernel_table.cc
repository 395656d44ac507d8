#include "hadal/kernels/kernel_table.h"

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>

#include "hadal/core/error.h"
#include "hadal/kernels/ref.h"

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
  static const std::array<const KernelTable*, 1> tables = {&ref_table()};
  return tables;
}

const KernelTable& kernels() {
  static const KernelTable& chosen = choose();
  return chosen;
}

}  // namespace hadal::kernels
