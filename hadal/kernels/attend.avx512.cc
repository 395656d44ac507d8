// Attention of the row on floats; attend_float.inc has the plan.
#include <algorithm>
#include <cmath>

#include "hadal/kernels/vector_avx512.h"
#include "hadal/kernels/vnni.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx512_begin.inc"
// clang-format on

namespace hadal::kernels::vnni {
namespace {

#include "hadal/kernels/attend_float.inc"

}  // namespace

void attend(const AttendArgs& args) noexcept {
  attend_tiles_of_queries(args);
}

}  // namespace hadal::kernels::vnni

#include "hadal/kernels/target_end.inc"
