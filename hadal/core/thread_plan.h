#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hadal/core/cpu_list.h"
#include "hadal/core/topology.h"

namespace hadal {

/// Threads of one NUMA node, and the processors that each of them may run on.
struct ThreadGroup {
  int node = 0;
  std::vector<CpuList> cpus;  // [threads]; an empty list: wherever Linux puts it
};

/// Where the threads of a pool run. Groups hold at least one thread each; the caller is the first of the first.
struct ThreadPlan {
  std::vector<ThreadGroup> groups;

  int num_threads() const;
  /// The processors of all threads together; empty when they are not pinned.
  CpuList cpus() const;
};

/// What the command line asks for.
struct ThreadRequest {
  int threads = 0;       // 0: one for each processor that may be used
  CpuList cpus{};        // only these; empty: all that this process may use
  bool by_node = false;  // a group for each NUMA node
};

/// num_threads threads in one group, not pinned.
ThreadPlan unpinned_threads(int num_threads);

/// How many threads and where. One for each processor, all cores before the second hardware threads of any, nodes in turn, and at
/// most as many as the control group's quota (`cgroup_cpus`, rounded down) allows, unless the request says how many.
///
/// With a list each thread has one processor of it. Without one they are pinned only if they take all there are: processes
/// that each take some would otherwise all sit on the same. by_node, a thread that has no processor of its own is kept on
/// its node.
///
/// Throws kUsage for a list with a processor that is not allowed, and for more threads than it has.
ThreadPlan plan_threads(const ThreadRequest& request, const Topology& topology, const CpuList& allowed,
                        std::optional<double> cgroup_cpus);

/// The same on this machine.
ThreadPlan plan_threads(const ThreadRequest& request);

/// Threads that a pool has when nothing is asked for: the affinity mask's processors, or the control group's CPU quota when
/// it is smaller.
int usable_cpus();

}  // namespace hadal
