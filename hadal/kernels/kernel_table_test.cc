#include "hadal/kernels/kernel_table.h"

#include <cstdlib>
#include <set>
#include <string_view>

#include <gtest/gtest.h>
#include <unistd.h>

#include "hadal/core/error.h"

namespace hadal::kernels {
namespace {

TEST(RunnableTables, BeginWithTheReferenceAndAreComplete) {
  ASSERT_FALSE(runnable_tables().empty());
  EXPECT_STREQ(runnable_tables().front()->isa, "ref");
  std::set<std::string_view> names;
  for (const KernelTable* table : runnable_tables()) {
    EXPECT_TRUE(names.insert(table->isa).second) << table->isa << " twice";
    EXPECT_TRUE(table->rmsnorm && table->swiglu && table->rope && table->attend) << table->isa;
    EXPECT_TRUE(table->pack_f32 && table->pack_bf16 && table->pack_f8) << table->isa;
    for (size_t format = 0; format < kNumFormats; ++format) {
      EXPECT_TRUE(table->gemm[format] && table->gemm_transposed[format]) << table->isa;
      EXPECT_EQ(table->expand[format] == nullptr, format == index_of(Format::kI4)) << table->isa;
    }
    EXPECT_TRUE(table->i8[index_of(Format::kI8)] && table->i8[index_of(Format::kI4)]) << table->isa;
  }
}

// The row is chosen once a process, so each choice has a process of its own. Prints what it got or why it did not.
[[noreturn]] void choose(const char* isa) {
  setenv("HADAL_ISA", isa, 1);
  try {
    std::fprintf(stderr, "chosen: %s\n", kernels().isa);
  } catch (const Error& e) {
    std::fprintf(stderr, "%s", e.what());
    _exit(e.kind() == ErrorKind::kUsage ? 2 : 3);
  }
  _exit(0);
}

TEST(Kernels, HadalIsaNamesTheRow) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const KernelTable* table : runnable_tables()) {
    EXPECT_EXIT(choose(table->isa), testing::ExitedWithCode(0), std::string("chosen: ") + table->isa);
  }
  EXPECT_EXIT(choose("pdp11"), testing::ExitedWithCode(2),
              "HADAL_ISA\n  expected  one of: ref.*\n  found     pdp11");
  EXPECT_EXIT(choose(""), testing::ExitedWithCode(2), "HADAL_ISA");
}

}  // namespace
}  // namespace hadal::kernels
