#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hadal {

/// Processors by Linux's numbers, ascending, none twice.
using CpuList = std::vector<int>;

/// "0-15,32" or "0-6:2", as taskset takes it. Throws kUsage, with `where` in front, for anything else, for nothing, and for
/// numbers beyond 65535.
CpuList parse_cpu_list(std::string_view text, std::string_view where);

/// "0-15,32".
std::string to_string(const CpuList& cpus);

/// Those that this process may use (sched_getaffinity, which knows the cpuset of the control group too), as it was at the first
/// call: a thread that has been pinned since then does not change it.
const CpuList& allowed_cpus();

/// From now on the calling thread runs on these only. False if Linux refuses: they are not there, or not allowed.
bool pin_this_thread(const CpuList& cpus);

}  // namespace hadal
