#include "hadal/core/system_info.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace hadal {
namespace {

namespace fs = std::filesystem;

// A file's first line; empty when it cannot be read.
std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The number that the text starts with.
std::optional<int64_t> number_in(const std::string& text) {
  const size_t at = text.find_first_not_of(' ');
  int64_t value = 0;
  if (at == std::string::npos) return std::nullopt;
  const auto result = std::from_chars(text.data() + at, text.data() + text.size(), value);
  return result.ec == std::errc() ? std::optional(value) : std::nullopt;
}

// Entries "<prefix><number>" of a folder: cpu0, cpu1, ... or node0, ...
std::vector<fs::path> numbered(const fs::path& folder, const std::string& prefix) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const bool digits = name.size() > prefix.size() &&
                        name.find_first_not_of("0123456789", prefix.size()) == std::string::npos;
    if (name.starts_with(prefix) && digits) found.push_back(it->path());
  }
  return found;
}

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
  for (const fs::path& cpu : numbered(folder, "cpu")) {
    const std::string socket = first_line(cpu / "topology/physical_package_id");
    if (socket.empty()) continue;  // switched off
    ++info.logical_cpus;
    sockets.insert(socket);
    cores.insert({socket, first_line(cpu / "topology/core_id")});
    for (const fs::path& cache : numbered(cpu / "cache", "index")) {
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

int64_t memory_bytes(const fs::path& meminfo) {
  std::ifstream file(meminfo);
  const std::string field = "MemTotal:";
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(field)) return number_in(line.substr(field.size())).value_or(0) * 1024;
  }
  return 0;
}

void read_cgroup(const fs::path& folder, SystemInfo& info) {
  info.cgroup_memory_bytes = number_in(first_line(folder / "memory.max"));  // "max" is no number
  const std::string line = first_line(folder / "cpu.max");                  // "200000 100000", "max 100000"
  const size_t space = line.find(' ');
  if (space == std::string::npos) return;
  const auto quota = number_in(line), period = number_in(line.substr(space));
  if (quota && period && *period > 0)
    info.cgroup_cpus = static_cast<double>(*quota) / static_cast<double>(*period);
}

}  // namespace

SystemInfo read_system_info(const std::string& root) {
  SystemInfo info;
  read_cpus(root + "/sys/devices/system/cpu", info);
  info.numa_nodes = static_cast<int>(numbered(root + "/sys/devices/system/node", "node").size());
  info.memory_bytes = memory_bytes(root + "/proc/meminfo");
  read_cgroup(root + "/sys/fs/cgroup", info);
  const std::string choice = first_line(root + "/sys/kernel/mm/transparent_hugepage/enabled");
  const size_t open = choice.find('['), close = choice.find(']');  // "always [madvise] never"
  if (open != std::string::npos && close != std::string::npos)
    info.huge_pages = choice.substr(open + 1, close - open - 1);
  return info;
}

}  // namespace hadal
