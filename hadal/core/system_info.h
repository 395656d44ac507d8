#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hadal/core/cgroup.h"

namespace hadal {

/// Caches of one level and type: how many there are, and the size of each in bytes.
struct CacheInfo {
  int level = 0;
  std::string type;  // "Data", "Instruction", "Unified"
  int64_t bytes = 0;
  int instances = 0;
};

/// The machine as Linux shows it under /proc and /sys; 0 or empty where it shows nothing.
struct SystemInfo {
  int logical_cpus = 0, cores = 0, sockets = 0;
  std::vector<CacheInfo> caches;  // by level, then type
  int64_t memory_bytes = 0;
  CgroupLimits cgroup;
  std::string huge_pages;  // transparent ones: "always", "madvise" or "never"
};

/// root: the folder that holds proc and sys; "" but for tests.
SystemInfo read_system_info(const std::string& root = "");

}  // namespace hadal
