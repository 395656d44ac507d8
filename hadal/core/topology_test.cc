#include "hadal/core/topology.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"

namespace hadal {
namespace {

void write_cpu(const TempFolder& root, int cpu, int socket, int core) {
  const std::string at = "sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
  root.write(at + "physical_package_id", std::to_string(socket) + "\n");
  root.write(at + "core_id", std::to_string(core) + "\n");
}

TEST(Topology, ReadsNodesAndProcessors) {
  const TempFolder root;
  for (int cpu = 0; cpu < 12; ++cpu) write_cpu(root, cpu, cpu % 4 / 2, cpu % 2);
  root.write("sys/devices/system/cpu/cpu12/uevent", "");  // switched off
  root.write("sys/devices/system/cpu/cpufreq/x", "");
  root.write("sys/devices/system/node/node0/cpulist", "0-1,4-5,8-9\n");
  root.write("sys/devices/system/node/node0/meminfo",
             "Node 0 MemFree:  7 kB\nNode 0 MemTotal:       1000 kB\n");
  root.write("sys/devices/system/node/node1/cpulist", "2-3,6-7,10-11\n");
  root.write("sys/devices/system/node/node2/cpulist", "\n");  // memory without processors
  root.write("sys/devices/system/node/has_cpu", "0-1\n");
  const Topology topology = read_topology(root.path());
  ASSERT_EQ(topology.nodes.size(), 2U);
  EXPECT_EQ(topology.nodes[0].cpus, CpuList({0, 1, 4, 5, 8, 9}));
  EXPECT_EQ(topology.nodes[0].memory_bytes, 1024000);
  EXPECT_EQ(topology.nodes[1].id, 1);
  ASSERT_EQ(topology.cpus.size(), 12U);
  const Cpu& last = topology.cpus[11];  // after 9 and 10: by number, not by name
  EXPECT_EQ(last.id, 11);
  EXPECT_EQ(last.node, 1);
  EXPECT_EQ(last.socket, 1);
  EXPECT_EQ(last.core, 1);
}

TEST(Topology, NothingToReadIsNothingKnown) {
  const TempFolder root;
  EXPECT_TRUE(read_topology(root.path()).cpus.empty());
  EXPECT_TRUE(read_topology(root.path()).nodes.empty());
}

TEST(Topology, ThisMachineHasTheProcessorsThatMayBeUsed) {
  const Topology topology = read_topology();
  for (const int cpu : allowed_cpus()) EXPECT_EQ(std::ranges::count(topology.cpus, cpu, &Cpu::id), 1) << cpu;
}

}  // namespace
}  // namespace hadal
