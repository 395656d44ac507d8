#include "hadal/core/system_info.h"

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"

namespace hadal {
namespace {

void write_cpu(const TempFolder& root, int cpu, int socket, int core, const std::string& shared_l3) {
  const std::string at = "sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/";
  root.write(at + "topology/physical_package_id", std::to_string(socket) + "\n");
  root.write(at + "topology/core_id", std::to_string(core) + "\n");
  root.write(at + "cache/index0/level", "1\n");
  root.write(at + "cache/index0/type", "Data\n");
  root.write(at + "cache/index0/size", "48K\n");
  root.write(at + "cache/index0/shared_cpu_list",
             std::to_string(core) + "," + std::to_string(core + 4) + "\n");
  root.write(at + "cache/index3/level", "3\n");
  root.write(at + "cache/index3/type", "Unified\n");
  root.write(at + "cache/index3/size", "105M\n");
  root.write(at + "cache/index3/shared_cpu_list", shared_l3 + "\n");
}

// Two sockets of two cores; the first core runs two threads.
TEST(SystemInfo, ReadsWhatLinuxShows) {
  const TempFolder root;
  write_cpu(root, 0, 0, 0, "0-1,4");
  write_cpu(root, 1, 0, 1, "0-1,4");
  write_cpu(root, 4, 0, 0, "0-1,4");
  write_cpu(root, 2, 1, 0, "2-3");
  write_cpu(root, 3, 1, 1, "2-3");
  root.write("sys/devices/system/cpu/cpu9/uevent", "");  // switched off: no topology
  root.write("sys/devices/system/cpu/cpufreq/x", "");
  root.write("proc/meminfo", "MemFree:  5 kB\nMemTotal:       1000 kB\n");
  root.write("sys/fs/cgroup/memory.max", "123456\n");
  root.write("sys/fs/cgroup/cpu.max", "150000 100000\n");
  root.write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  const SystemInfo info = read_system_info(root.path());
  EXPECT_EQ(info.logical_cpus, 5);
  EXPECT_EQ(info.sockets, 2);
  EXPECT_EQ(info.cores, 4);
  EXPECT_EQ(info.memory_bytes, 1024000);
  EXPECT_EQ(info.cgroup.memory_bytes, 123456);
  EXPECT_EQ(info.cgroup.cpus, 1.5);
  EXPECT_EQ(info.huge_pages, "madvise");
  ASSERT_EQ(info.caches.size(), 2U);
  EXPECT_EQ(info.caches[0].level, 1);
  EXPECT_EQ(info.caches[0].type, "Data");
  EXPECT_EQ(info.caches[0].bytes, 48 << 10);
  EXPECT_EQ(info.caches[1].bytes, 105 << 20);
  EXPECT_EQ(info.caches[1].instances, 2);
}

TEST(SystemInfo, NothingToReadIsNothingKnown) {
  const TempFolder root;
  root.write("sys/fs/cgroup/memory.max", "max\n");
  root.write("sys/fs/cgroup/cpu.max", "max 100000\n");
  const SystemInfo info = read_system_info(root.path());
  EXPECT_EQ(info.logical_cpus, 0);
  EXPECT_TRUE(info.caches.empty());
  EXPECT_EQ(info.memory_bytes, 0);
  EXPECT_FALSE(info.cgroup.memory_bytes.has_value());
  EXPECT_FALSE(info.cgroup.cpus.has_value());
  EXPECT_EQ(info.huge_pages, "");
}

TEST(SystemInfo, ThisMachineHasProcessors) {
  const SystemInfo info = read_system_info();
  EXPECT_GE(info.logical_cpus, 1);
  EXPECT_LE(info.cores, info.logical_cpus);
  EXPECT_LE(info.sockets, info.cores);
  EXPECT_GT(info.memory_bytes, 0);
}

}  // namespace
}  // namespace hadal
