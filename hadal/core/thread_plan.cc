#include "hadal/core/thread_plan.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "hadal/core/cgroup.h"
#include "hadal/core/error.h"

namespace hadal {
namespace {

void check_list(const CpuList& wanted, const CpuList& allowed) {
  for (const int cpu : wanted) {
    if (std::ranges::binary_search(allowed, cpu)) continue;
    fail(ErrorKind::kUsage,
         "--cpu-list {}\n  expected  processors that this process may use: {}\n  found     {}",
         to_string(wanted), to_string(allowed), cpu);
  }
}

// A processor that the topology does not know (no /sys in a sandbox) counts as a core of its own.
Cpu find_cpu(const Topology& topology, int id) {
  const auto found = std::ranges::find(topology.cpus, id, &Cpu::id);
  return found == topology.cpus.end() ? Cpu{id, 0, -1, id} : *found;
}

// First hardware threads of all cores, then second ones; among these, nodes in turn.
std::vector<Cpu> by_preference(const CpuList& cpus, const Topology& topology) {
  struct Ranked {
    int sibling, in_node;
    Cpu cpu;
  };
  std::map<std::pair<int, int>, int> on_core;  // processors so far of a (socket, core)
  std::map<std::pair<int, int>, int> on_node;  // of a (node, sibling)
  std::vector<Ranked> ranked;
  for (const int id : cpus) {
    const Cpu cpu = find_cpu(topology, id);
    const int sibling = on_core[{cpu.socket, cpu.core}]++;
    ranked.push_back({sibling, on_node[{cpu.node, sibling}]++, cpu});
  }
  std::ranges::sort(ranked, {},
                    [](const Ranked& r) { return std::tuple(r.sibling, r.in_node, r.cpu.node, r.cpu.id); });
  std::vector<Cpu> sorted;
  sorted.reserve(ranked.size());
  for (const Ranked& r : ranked) sorted.push_back(r.cpu);
  return sorted;
}

int count_threads(const ThreadRequest& request, const CpuList& usable, std::optional<double> cgroup_cpus) {
  const int cpus = static_cast<int>(usable.size());
  if (request.threads > 0) return request.threads;
  if (!request.cpus.empty() || !cgroup_cpus || *cgroup_cpus >= cpus) return cpus;
  return std::max(1, static_cast<int>(*cgroup_cpus));
}

// A group for each node that has any of the chosen processors, in the order of nodes.
ThreadPlan group_by_node(const std::vector<Cpu>& chosen, const std::vector<Cpu>& usable, bool one_each) {
  std::map<int, ThreadGroup> groups;
  for (const Cpu& cpu : chosen) {
    CpuList cpus = {cpu.id};
    if (!one_each) {
      cpus.clear();
      for (const Cpu& other : usable) {
        if (other.node == cpu.node) cpus.push_back(other.id);
      }
      std::ranges::sort(cpus);
    }
    ThreadGroup& group = groups[cpu.node];
    group.node = cpu.node;
    group.cpus.push_back(std::move(cpus));
  }
  ThreadPlan plan;
  for (auto& [node, group] : groups) plan.groups.push_back(std::move(group));
  return plan;
}

}  // namespace

int ThreadPlan::num_threads() const {
  size_t count = 0;
  for (const ThreadGroup& group : groups) count += group.cpus.size();
  return static_cast<int>(count);
}

CpuList ThreadPlan::cpus() const {
  CpuList all;
  for (const ThreadGroup& group : groups) {
    for (const CpuList& cpus : group.cpus) all.insert(all.end(), cpus.begin(), cpus.end());
  }
  std::ranges::sort(all);
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

ThreadPlan unpinned_threads(int num_threads) {
  return {{{0, std::vector<CpuList>(static_cast<size_t>(std::max(num_threads, 0)))}}};
}

ThreadPlan plan_threads(const ThreadRequest& request, const Topology& topology, const CpuList& allowed,
                        std::optional<double> cgroup_cpus) {
  check_list(request.cpus, allowed);
  const bool listed = !request.cpus.empty();
  const CpuList& usable = listed ? request.cpus : allowed;
  const int count = count_threads(request, usable, cgroup_cpus), cpus = static_cast<int>(usable.size());
  if (listed && count > cpus) {
    fail(ErrorKind::kUsage,
         "--threads {}\n  expected  at most {}, a processor of --cpu-list {} each\n  found     {}", count,
         cpus, to_string(usable), count);
  }
  if (count > cpus) return unpinned_threads(count);
  const std::vector<Cpu> preferred = by_preference(usable, topology);
  const std::vector<Cpu> chosen(preferred.begin(), preferred.begin() + count);
  const bool one_each = listed || count == cpus;
  if (request.by_node) {
    ThreadPlan plan = group_by_node(chosen, preferred, one_each);
    if (plan.groups.size() > 1) return plan;
  }
  ThreadPlan plan = unpinned_threads(count);
  if (!one_each) return plan;
  for (size_t i = 0; i < chosen.size(); ++i) plan.groups[0].cpus[i] = {chosen[i].id};
  return plan;
}

ThreadPlan plan_threads(const ThreadRequest& request) {
  return plan_threads(request, read_topology(), allowed_cpus(), read_cgroup().cpus);
}

int usable_cpus() {
  return count_threads({}, allowed_cpus(), read_cgroup().cpus);
}

}  // namespace hadal
