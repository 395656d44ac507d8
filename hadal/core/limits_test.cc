#include "hadal/core/limits.h"

#include <gtest/gtest.h>

#include "hadal/core/machine.h"

namespace hadal {
namespace {

// Not how fast: only that each loop runs, on all threads, and comes to something that a computer can be.
TEST(Limits, AreThoseOfSomeComputer) {
  ThreadPool pool(2);
  const MachineLimits limits = measure_limits(pool);
  EXPECT_GT(limits.read_bytes_per_s, 1e7);
  EXPECT_LT(limits.read_bytes_per_s, 1e13);
  for (const Unit unit : {Unit::kF32, Unit::kBF16, Unit::kInt8}) {
    EXPECT_GT(limits.of(unit), 1e7) << to_string(unit);
    EXPECT_LT(limits.of(unit), 1e15) << to_string(unit);
  }
}

TEST(Limits, UnitOfEachFormat) {
  EXPECT_EQ(unit_of(Format::kF32), Unit::kF32);
  EXPECT_EQ(unit_of(Format::kF16), Unit::kF32);
  EXPECT_EQ(unit_of(Format::kBF16), Unit::kBF16);
  EXPECT_EQ(unit_of(Format::kF8E4M3), Unit::kBF16);
  EXPECT_EQ(unit_of(Format::kI8), Unit::kInt8);
  EXPECT_EQ(unit_of(Format::kI4), Unit::kInt8);
}

}  // namespace
}  // namespace hadal
