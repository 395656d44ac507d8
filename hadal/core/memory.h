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

/// Memory that this process may still take, pages of files that can be dropped included: the smaller of the machine's
/// MemAvailable, what the cgroup leaves, and RLIMIT_AS. INT64_MAX where none of them can be read.
int64_t available_memory_bytes();

/// Throws kCapacity, with every number, when the needs exceed `available`.
void check_memory(std::span<const MemoryNeed> needs, int64_t available);

/// "1.50 GiB", "312 MiB", "9 B".
std::string format_bytes(int64_t bytes);

}  // namespace hadal
