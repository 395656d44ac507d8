#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace hadal {

/// What a run is going to need, named for the message.
struct MemoryNeed {
  std::string what;
  int64_t bytes = 0;
};

/// Memory that this process may still take: the smaller of the machine's MemAvailable and what the cgroup leaves. Pages of
/// files that can be dropped count as available, so mapped weights are a need before and after they have been read.
/// INT64_MAX where neither can be read. root: the folder that holds proc and sys; "" but for tests.
int64_t available_memory_bytes(const std::string& root = "");

/// Throws kCapacity, with every number, when the needs exceed `available`.
void check_memory(std::span<const MemoryNeed> needs, int64_t available);

/// What a command is going to do with the memory.
struct MemoryPlan {
  int64_t weights = 0;              // bytes
  bool can_drop_weights = false;    // they are mapped: pages that do not fit are read from the disk again
  std::vector<MemoryNeed> needs{};  // beside the weights
  int64_t available = 0;
};

/// "memory: weights 7.93 GiB (mapped), KV cache 120.0 MiB, scratch 90.1 MiB; 21.30 GiB available".
std::string to_string(const MemoryPlan& plan);

/// Throws kCapacity, with every number, when what has to be in memory does not fit. Logs a warning when only weights that
/// can be dropped do not.
void check_plan(const MemoryPlan& plan);

/// Keeps the pages of these bytes in memory for as long as they are mapped; reads those that are not there yet. Throws
/// kCapacity when Linux refuses, with `what` (a file's name) in front and RLIMIT_MEMLOCK, which is most often why.
void lock_memory(std::span<const std::byte> bytes, const std::string& what);

/// Bytes that this process may lock (RLIMIT_MEMLOCK); none: as many as it wants.
std::optional<int64_t> lock_limit_bytes();

/// "1.50 GiB", "312.0 MiB", "9 B".
std::string format_bytes(int64_t bytes);

}  // namespace hadal
