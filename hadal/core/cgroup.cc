#include "hadal/core/cgroup.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "hadal/core/proc_file.h"

namespace hadal {
namespace {

namespace fs = std::filesystem;

template <class T>
void tighten(std::optional<T>& limit, std::optional<T> other) {
  if (other && (!limit || *other < *limit)) limit = other;
}

// The process's group in the hierarchy of a controller ("memory"; "" for version 2); "/" where nothing is said.
// Lines are "4:memory:/path", "3:cpu,cpuacct:/path" and, for version 2, "0::/path".
std::string group_of(const fs::path& self, std::string_view controller) {
  std::ifstream file(self);
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    if (controllers.find(fmt::format(",{},", controller)) != std::string::npos)
      return line.substr(second + 1);
  }
  return "/";
}

// A group's folder and those around it, up to where the hierarchy is mounted.
std::vector<fs::path> folders(const fs::path& mount, std::string group) {
  std::vector<fs::path> found = {mount};
  if (group.find("..") != std::string::npos) return found;  // outside of what this process can see
  for (; group.size() > 1; group.erase(group.rfind('/'))) found.push_back(mount / group.substr(1));
  return found;
}

std::optional<double> quota(std::optional<int64_t> time, std::optional<int64_t> period) {
  if (!time || !period || *time <= 0 || *period <= 0) return std::nullopt;  // "max", or -1
  return static_cast<double>(*time) / static_cast<double>(*period);
}

void tighten_memory(CgroupLimits& limits, std::optional<int64_t> limit, std::optional<int64_t> used,
                    int64_t droppable) {
  constexpr int64_t kNone = int64_t{1} << 62;  // version 1 writes the largest number of whole pages
  if (!limit || *limit >= kNone) return;
  tighten(limits.memory_bytes, limit);
  if (used)
    tighten(limits.memory_left,
            std::optional(std::max<int64_t>(0, *limit - *used + std::max<int64_t>(0, droppable))));
}

void read_version_2(const fs::path& folder, CgroupLimits& limits) {
  const std::string line = first_line(folder / "cpu.max");  // "200000 100000", "max 100000"
  const size_t space = std::min(line.find(' '), line.size());
  tighten(limits.cpus, quota(number_in(line), number_in(std::string_view(line).substr(space))));
  const fs::path stat = folder / "memory.stat";
  const int64_t files = number_of(stat, "file ").value_or(0), shared = number_of(stat, "shmem ").value_or(0);
  tighten_memory(limits, number_in(first_line(folder / "memory.max")),
                 number_in(first_line(folder / "memory.current")), files - shared);
}

void read_version_1(const fs::path& mount, const fs::path& self, CgroupLimits& limits) {
  for (const fs::path& folder : folders(mount / "cpu", group_of(self, "cpu"))) {
    tighten(limits.cpus, quota(number_in(first_line(folder / "cpu.cfs_quota_us")),
                               number_in(first_line(folder / "cpu.cfs_period_us"))));
  }
  for (const fs::path& folder : folders(mount / "memory", group_of(self, "memory"))) {
    const fs::path stat = folder / "memory.stat";
    const int64_t files = number_of(stat, "total_cache ").value_or(0),
                  shared = number_of(stat, "total_shmem ").value_or(0);
    tighten_memory(limits, number_in(first_line(folder / "memory.limit_in_bytes")),
                   number_in(first_line(folder / "memory.usage_in_bytes")), files - shared);
  }
}

}  // namespace

CgroupLimits read_cgroup(const std::string& root) {
  const fs::path mount = root + "/sys/fs/cgroup", self = root + "/proc/self/cgroup";
  CgroupLimits limits;
  for (const fs::path& folder : folders(mount, group_of(self, ""))) read_version_2(folder, limits);
  read_version_1(mount, self, limits);
  return limits;
}

}  // namespace hadal
