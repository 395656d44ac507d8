#pragma once

#include "hadal/kernels/kernel_table.h"

namespace hadal::kernels {

/// The rows beyond ref: each is a row before it with some entries replaced. Only to be used where
/// core/machine.h says that the machine has the instructions.
const KernelTable& avx2_table();
const KernelTable& avx2_vnni_table();
const KernelTable& avx512_table();
const KernelTable& amx_table();

}  // namespace hadal::kernels
