#include "hadal/core/system_info.h"

#include <filesystem>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "hadal/core/proc_file.h"

namespace hadal {
namespace {

namespace fs = std::filesystem;

// "48K", "105M"
int64_t cache_bytes(const std::string& size) {
  const int64_t unit = size.ends_with('K') ? 1 << 10 : size.ends_with('M') ? 1 << 20 : 1;
  return number_in(size).value_or(0) * unit;
}

void read_cpus(const fs::path& folder, SystemInfo& info) {
  std::set<std::string> sockets;
  std::set<std::pair<std::string, std::string>> cores;
  // One cache appears under each processor that shares it, with the same list of these.
  std::map<std::tuple<int64_t, std::string, int64_t>, std::set<std::string>> caches;
  for (const auto& [id, cpu] : numbered(folder, "cpu")) {
    const std::string socket = first_line(cpu / "topology/physical_package_id");
    if (socket.empty()) continue;  // switched off
    ++info.logical_cpus;
    sockets.insert(socket);
    cores.insert({socket, first_line(cpu / "topology/core_id")});
    for (const auto& [index, cache] : numbered(cpu / "cache", "index")) {
      const int64_t level = number_in(first_line(cache / "level")).value_or(0);
      caches[{level, first_line(cache / "type"), cache_bytes(first_line(cache / "size"))}].insert(
          first_line(cache / "shared_cpu_list"));
    }
  }
  info.sockets = static_cast<int>(sockets.size());
  info.cores = static_cast<int>(cores.size());
  for (const auto& [what, where] : caches) {
    const auto& [level, type, bytes] = what;
    info.caches.push_back({static_cast<int>(level), type, bytes, static_cast<int>(where.size())});
  }
}

}  // namespace

SystemInfo read_system_info(const std::string& root) {
  SystemInfo info;
  read_cpus(root + "/sys/devices/system/cpu", info);
  info.memory_bytes = number_of(root + "/proc/meminfo", "MemTotal:").value_or(0) * 1024;
  info.cgroup = read_cgroup(root);
  const std::string choice = first_line(root + "/sys/kernel/mm/transparent_hugepage/enabled");
  const size_t open = choice.find('['), close = choice.find(']');  // "always [madvise] never"
  if (open != std::string::npos && close != std::string::npos)
    info.huge_pages = choice.substr(open + 1, close - open - 1);
  return info;
}

}  // namespace hadal
