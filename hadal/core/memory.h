#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace hadal {

/// What a run is going to need, named for the message.
struct MemoryNeed {
  std::string what;
  int64_t bytes = 0;
};

/// Memory that this process may still take: the smaller of the machine's MemAvailable and what the cgroup leaves. Pages of
/// files that can be dropped count as available, so mapped weights are a need before and after they have been read.
/// INT64_MAX where neither can be read.
int64_t available_memory_bytes();

/// Throws kCapacity, with every number, when the needs exceed `available`.
void check_memory(std::span<const MemoryNeed> needs, int64_t available);

/// "1.50 GiB", "312.0 MiB", "9 B".
std::string format_bytes(int64_t bytes);

}  // namespace hadal
