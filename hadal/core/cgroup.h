#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace hadal {

/// What the control groups of this process leave it: the tightest limit of its own group and all groups around it.
struct CgroupLimits {
  std::optional<double> cpus;  // cores' worth of time
  std::optional<int64_t> memory_bytes;
  std::optional<int64_t> memory_left;  // what is not used, or used by pages of files that can be dropped
};

/// Both versions of control groups, mounted under /sys/fs/cgroup; the group's name is taken from /proc/self/cgroup. Inside a
/// container that name may be one of the host's: then the mount itself is the container's group.
/// root: the folder that holds proc and sys; "" but for tests.
CgroupLimits read_cgroup(const std::string& root = "");

}  // namespace hadal
