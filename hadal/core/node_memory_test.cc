#include "hadal/core/node_memory.h"

#include <cerrno>

#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace hadal {
namespace {

int policy() {
  int mode = -1;
  return syscall(SYS_get_mempolicy, &mode, nullptr, 0, nullptr, 0) == 0 ? mode : -1;
}

TEST(NodeMemoryScope, HoldsUntilTheEndOfTheBlock) {
  if (policy() != MPOL_DEFAULT) GTEST_SKIP() << "this sandbox does not let a process ask, or has a policy";
  {
    const NodeMemoryScope scope(0);  // every machine has it
    EXPECT_EQ(policy(), MPOL_PREFERRED);
  }
  EXPECT_EQ(policy(), MPOL_DEFAULT);
}

TEST(NodeMemoryScope, ANodeThatIsNotThereIsNoWish) {
  const int before = policy();
  for (const int node : {-1, 1024}) {  // the latter is beyond what Linux counts to
    const NodeMemoryScope scope(node);
    EXPECT_EQ(policy(), before) << node;
  }
}

}  // namespace
}  // namespace hadal
