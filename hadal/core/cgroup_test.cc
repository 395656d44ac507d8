#include "hadal/core/cgroup.h"

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"

namespace hadal {
namespace {

TEST(Cgroup, NothingToReadIsNoLimit) {
  const TempFolder root;
  const CgroupLimits none = read_cgroup(root.path());
  EXPECT_FALSE(none.cpus || none.memory_bytes || none.memory_left);
  root.write("proc/self/cgroup", "0::/\n");
  root.write("sys/fs/cgroup/cpu.max", "max 100000\n");
  root.write("sys/fs/cgroup/memory.max", "max\n");
  root.write("sys/fs/cgroup/memory.current", "5\n");
  const CgroupLimits unlimited = read_cgroup(root.path());
  EXPECT_FALSE(unlimited.cpus || unlimited.memory_bytes || unlimited.memory_left);
}

// A service of systemd: the limit may be at any level between the process's group and the root.
TEST(Cgroup, TakesTheTightestOfNestedGroups) {
  const TempFolder root;
  root.write("proc/self/cgroup", "0::/a.slice/b.service/c\n");
  root.write("sys/fs/cgroup/a.slice/cpu.max", "800000 100000\n");
  root.write("sys/fs/cgroup/a.slice/b.service/cpu.max", "300000 200000\n");
  root.write("sys/fs/cgroup/a.slice/b.service/c/cpu.max", "max 100000\n");
  root.write("sys/fs/cgroup/a.slice/memory.max", "1000\n");
  root.write("sys/fs/cgroup/a.slice/memory.current", "900\n");
  root.write("sys/fs/cgroup/a.slice/memory.stat", "anon 500\nfile 400\nfile_mapped 7\nshmem 30\n");
  root.write("sys/fs/cgroup/a.slice/b.service/c/memory.max", "600\n");
  root.write("sys/fs/cgroup/a.slice/b.service/c/memory.current", "100\n");
  root.write("sys/fs/cgroup/elsewhere/cpu.max", "100000 100000\n");
  const CgroupLimits limits = read_cgroup(root.path());
  EXPECT_EQ(limits.cpus, 1.5);
  EXPECT_EQ(limits.memory_bytes, 600);
  EXPECT_EQ(limits.memory_left, 1000 - 900 + 400 - 30);  // less than what c itself leaves: 500
}

TEST(Cgroup, UsesTheMountWhereTheNameIsTheHosts) {
  const TempFolder root;
  root.write("proc/self/cgroup", "0::/docker/0123abc\n");
  root.write("sys/fs/cgroup/cpu.max", "250000 100000\n");
  EXPECT_EQ(read_cgroup(root.path()).cpus, 2.5);
  root.write("proc/self/cgroup", "0::/../..\n");
  EXPECT_EQ(read_cgroup(root.path()).cpus, 2.5);
}

TEST(Cgroup, ReadsVersionOne) {
  const TempFolder root;
  root.write("proc/self/cgroup", "4:memory:/box/inner\n3:cpu,cpuacct:/box\n0::/\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  root.write("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "350000\n");
  root.write("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  root.write("sys/fs/cgroup/memory/memory.usage_in_bytes", "123\n");
  root.write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "5000\n");
  root.write("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "4500\n");
  root.write("sys/fs/cgroup/memory/box/memory.stat", "cache 1\ntotal_cache 1500\ntotal_shmem 100\n");
  const CgroupLimits limits = read_cgroup(root.path());
  EXPECT_EQ(limits.cpus, 3.5);
  EXPECT_EQ(limits.memory_bytes, 5000);
  EXPECT_EQ(limits.memory_left, 500 + 1400);
}

}  // namespace
}  // namespace hadal
