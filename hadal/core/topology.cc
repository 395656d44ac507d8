#include "hadal/core/topology.h"

#include <filesystem>
#include <map>

#include "hadal/core/error.h"
#include "hadal/core/proc_file.h"

namespace hadal {
namespace {

namespace fs = std::filesystem;

// A node without processors (memory on a device) has an empty list.
CpuList cpus_of(const fs::path& node) {
  const std::string list = first_line(node / "cpulist");
  return list.empty() ? CpuList{} : parse_cpu_list(list, (node / "cpulist").string());
}

}  // namespace

Topology read_topology(const std::string& root) {
  Topology topology;
  std::map<int, int> node_of;
  for (const auto& [id, path] : numbered(root + "/sys/devices/system/node", "node")) {
    NumaNode node{id, cpus_of(path), 0};
    if (node.cpus.empty()) continue;
    for (const int cpu : node.cpus) node_of[cpu] = id;
    const std::string total = "Node " + std::to_string(id) + " MemTotal:";
    node.memory_bytes = number_of(path / "meminfo", total).value_or(0) * 1024;
    topology.nodes.push_back(std::move(node));
  }
  for (const auto& [id, path] : numbered(root + "/sys/devices/system/cpu", "cpu")) {
    const auto socket = number_in(first_line(path / "topology/physical_package_id")),
               core = number_in(first_line(path / "topology/core_id"));
    if (!socket || !core) continue;  // switched off
    topology.cpus.push_back({id, node_of[id], static_cast<int>(*socket), static_cast<int>(*core)});
  }
  return topology;
}

}  // namespace hadal
