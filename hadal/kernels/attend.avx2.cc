// Attention of the row on floats; attend_float.inc has the plan.
#include <algorithm>
#include <cmath>

#include "hadal/kernels/avx2.h"
#include "hadal/kernels/vector_avx2.h"

// clang-format off: after everything that other files share
#include "hadal/kernels/avx2_begin.inc"
// clang-format on

namespace hadal::kernels::avx2 {
namespace {

#include "hadal/kernels/attend_float.inc"

}  // namespace

void attend(const AttendArgs& args) noexcept {
  attend_tiles_of_queries(args);
}

}  // namespace hadal::kernels::avx2

#include "hadal/kernels/target_end.inc"
