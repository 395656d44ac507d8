// hadal doctor: what this machine is, which kernels it can run and why not better ones, and how fast it can be.
#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/machine.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "hadal/core/machine.h"
#include "hadal/core/memory.h"
#include "hadal/core/system_info.h"
#include "hadal/core/topology.h"
#include "hadal/kernels/kernel_table.h"

namespace hadal::cli {
namespace {

constexpr const char* kDoctorFooter =
    R"(With --json, one object:
  cpu            {name, logical, cores, sockets, usable}: usable is what affinity and cgroup leave
  numa           a list of {node, cpus, memory}: processors as "0-15,32"
  threads        a list of {node, threads, cpus}, one unless --numa auto made more; cpus is "" for threads that are not pinned
  caches         a list of {level, type, bytes, instances}
  instructions   {<name>: true or false}: what the processor has and Linux lets this process use
  memory         {total, available, cgroup_limit, cgroup_cpus, lock_limit, huge_pages}: bytes; null where there is none
  kernels        {chosen, rows: a list of {isa, runnable, missing}}: the environment variable HADAL_ISA chooses another
  limits         {cpu, threads, isa, read_gb_s, tflop_s: {f32, bf16, int8}}, measured
  hints          a list of texts: what keeps this machine from being faster)";

using Instructions = std::vector<std::pair<std::string_view, bool>>;

Instructions instructions() {
  const CpuFeatures& f = cpu_features();
  return {{"avx2", f.avx2},
          {"fma", f.fma},
          {"f16c", f.f16c},
          {"avx_vnni", f.avx_vnni},
          {"avx512", f.avx512},
          {"avx512_vnni", f.avx512_vnni},
          {"avx512_bf16", f.avx512_bf16},
          {"avx512_vbmi", f.avx512_vbmi},
          {"avx512_fp16", f.avx512_fp16},
          {"amx_tile", f.amx_tile},
          {"amx_int8", f.amx_int8},
          {"amx_bf16", f.amx_bf16}};
}

/// A row of the kernel table, and what it needs: kernels::runnable_tables() decides, this explains.
struct Row {
  std::string_view isa;
  std::vector<std::string_view> needs;
};

std::vector<Row> rows() {
  return {{"ref", {}},
          {"avx2", {"avx2", "fma", "f16c"}},
          {"avx2_vnni", {"avx2", "fma", "f16c", "avx_vnni"}},
          {"avx512", {"avx512", "avx512_vnni", "avx512_vbmi"}},
          {"amx", {"avx512", "avx512_vnni", "avx512_vbmi", "amx_tile", "amx_int8", "amx_bf16"}}};
}

bool is_runnable(const Row& row) {
  return std::ranges::any_of(kernels::runnable_tables(),
                             [&](const kernels::KernelTable* table) { return row.isa == table->isa; });
}

std::vector<std::string_view> missing(const Row& row) {
  const Instructions all = instructions();
  std::vector<std::string_view> lacking;
  for (const std::string_view need : row.needs) {
    const auto found = std::ranges::find(all, need, &Instructions::value_type::first);
    if (found == all.end() || !found->second) lacking.push_back(need);
  }
  return lacking;
}

struct DoctorReport {
  SystemInfo system;
  Topology topology;
  ThreadPlan plan;
  Machine machine;
  int usable = 0;
  int64_t available = 0;
  std::vector<std::string> hints;
};

std::vector<std::string> make_hints(const DoctorReport& report) {
  std::vector<std::string> hints;
  const SystemInfo& s = report.system;
  if (cpu_features().amx_refused)
    hints.emplace_back("the processor has AMX, but Linux refuses its tiles to this process (arch_prctl)");
  if (rows().back().isa != report.machine.isa) {
    const Row best = rows().back();
    const auto lacking = missing(best);
    hints.push_back(
        lacking.empty()
            ? fmt::format("HADAL_ISA={} keeps the {} kernels from being used", report.machine.isa, best.isa)
            : fmt::format("no {} kernels: this machine lacks {}", best.isa, fmt::join(lacking, ", ")));
  }
  if (s.huge_pages == "never")
    hints.emplace_back("/sys/kernel/mm/transparent_hugepage/enabled is never: madvise or always is faster");
  if (report.usable < s.logical_cpus)
    hints.push_back(fmt::format("{} of {} processors are usable: affinity or the cgroup's cpu.max",
                                report.usable, s.logical_cpus));
  if (s.cgroup.memory_bytes && *s.cgroup.memory_bytes < s.memory_bytes)
    hints.push_back(fmt::format("the cgroup's memory.max leaves {} of {}",
                                format_bytes(*s.cgroup.memory_bytes), format_bytes(s.memory_bytes)));
  if (report.topology.nodes.size() > 1 && report.plan.groups.size() == 1)
    hints.push_back(fmt::format("{} NUMA nodes: --numa auto puts each weight where it is read",
                                report.topology.nodes.size()));
  return hints;
}

DoctorReport make_report(const ThreadOptions& threads) {
  DoctorReport report;
  report.system = read_system_info();
  report.topology = read_topology();
  report.plan = thread_plan(threads);
  report.usable = usable_cpus();
  report.available = available_memory_bytes();
  report.machine = measure_machine(*make_pool(threads));
  report.hints = make_hints(report);
  return report;
}

template <class T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

CpuList cpus_of(const ThreadGroup& group) {
  return ThreadPlan{{group}}.cpus();
}

json numa_json(const Topology& topology) {
  json nodes = json::array();
  for (const NumaNode& node : topology.nodes)
    nodes.push_back(
        {{"node", node.id}, {"cpus", hadal::to_string(node.cpus)}, {"memory", node.memory_bytes}});
  return nodes;
}

json threads_json(const ThreadPlan& plan) {
  json groups = json::array();
  for (const ThreadGroup& group : plan.groups) {
    groups.push_back(
        {{"node", group.node}, {"threads", group.cpus.size()}, {"cpus", hadal::to_string(cpus_of(group))}});
  }
  return groups;
}

json to_json(const DoctorReport& report) {
  const SystemInfo& s = report.system;
  json caches = json::array(), flags = json::object(), table = json::array();
  for (const CacheInfo& cache : s.caches) {
    caches.push_back({{"level", cache.level},
                      {"type", cache.type},
                      {"bytes", cache.bytes},
                      {"instances", cache.instances}});
  }
  for (const auto& [name, present] : instructions()) flags[std::string(name)] = present;
  for (const Row& row : rows())
    table.push_back({{"isa", row.isa}, {"runnable", is_runnable(row)}, {"missing", missing(row)}});
  const bool known = report.available < std::numeric_limits<int64_t>::max();
  return {{"cpu",
           {{"name", report.machine.cpu},
            {"logical", s.logical_cpus},
            {"cores", s.cores},
            {"sockets", s.sockets},
            {"usable", report.usable}}},
          {"numa", numa_json(report.topology)},
          {"threads", threads_json(report.plan)},
          {"caches", std::move(caches)},
          {"instructions", std::move(flags)},
          {"memory",
           {{"total", s.memory_bytes},
            {"available", known ? json(report.available) : json(nullptr)},
            {"cgroup_limit", or_null(s.cgroup.memory_bytes)},
            {"cgroup_cpus", or_null(s.cgroup.cpus)},
            {"lock_limit", or_null(lock_limit_bytes())},
            {"huge_pages", s.huge_pages.empty() ? json(nullptr) : json(s.huge_pages)}}},
          {"kernels", {{"chosen", report.machine.isa}, {"rows", std::move(table)}}},
          {"limits", to_json(report.machine)},
          {"hints", report.hints}};
}

std::string caches_text(const SystemInfo& system) {
  std::string text;
  for (const CacheInfo& cache : system.caches) {
    text += fmt::format("{}L{} {} {}", text.empty() ? "" : ", ", cache.level, cache.type,
                        format_bytes(cache.bytes));
    if (cache.instances > 1) text += fmt::format(" x {}", cache.instances);
  }
  return text;
}

// "2, each on a processor of its own: 0-1", "3, not pinned", "4 on node 0: 0-7".
std::string threads_text(const ThreadGroup& group, bool several) {
  const CpuList cpus = cpus_of(group);
  const std::string where = several ? fmt::format("{} on node {}", group.cpus.size(), group.node)
                                    : fmt::format("{}", group.cpus.size());
  if (cpus.empty()) return where + ", not pinned";
  return fmt::format("{}{}: {}", where,
                     cpus.size() == group.cpus.size() ? ", each on a processor of its own" : "",
                     hadal::to_string(cpus));
}

std::string memory_text(const DoctorReport& report) {
  const SystemInfo& s = report.system;
  const auto lock = lock_limit_bytes();
  return fmt::format("{}, {} available, {} may be locked; transparent huge pages: {}",
                     format_bytes(s.memory_bytes), format_bytes(report.available),
                     lock ? format_bytes(*lock) : "all", s.huge_pages.empty() ? "unknown" : s.huge_pages);
}

std::string to_text(const DoctorReport& report) {
  const SystemInfo& s = report.system;
  std::string have, lack;
  for (const auto& [name, present] : instructions()) (present ? have : lack) += fmt::format(" {}", name);
  std::string text;
  const auto row = [&text](std::string_view name, std::string_view value) {
    text += fmt::format("{:<14}{}\n", name, value);
  };
  row("processor", fmt::format("{}: {} sockets, {} cores, {} threads ({} usable)", report.machine.cpu,
                               s.sockets, s.cores, s.logical_cpus, report.usable));
  for (const NumaNode& node : report.topology.nodes)
    row(fmt::format("NUMA node {}", node.id),
        fmt::format("processors {}, {}", hadal::to_string(node.cpus), format_bytes(node.memory_bytes)));
  for (const ThreadGroup& group : report.plan.groups)
    row("threads", threads_text(group, report.plan.groups.size() > 1));
  row("caches", caches_text(s));
  row("has", have.empty() ? "none of the instructions that hadal uses" : have.substr(1));
  if (!lack.empty()) row("lacks", lack.substr(1));
  row("memory", memory_text(report));
  for (const Row& each : rows()) {
    const auto lacking = missing(each);
    row("kernels", fmt::format("{}{}", each.isa,
                               each.isa == report.machine.isa ? ": in use"
                               : lacking.empty()              ? ": runs here"
                                                 : fmt::format(": lacks {}", fmt::join(lacking, ", "))));
  }
  row("limits", to_text(report.machine));
  for (const std::string& hint : report.hints) row("hint", hint);
  return text;
}

}  // namespace

void add_doctor(CLI::App& app) {
  struct Options {
    ThreadOptions threads;
    bool as_json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* cmd = app.add_subcommand("doctor", "Say what this machine is and how fast it can be");
  add_thread_options(*cmd, options->threads);
  cmd->add_flag("--json", options->as_json, "Print JSON");
  cmd->footer(kDoctorFooter);
  cmd->callback([options] {
    const DoctorReport report = make_report(options->threads);
    write_stdout(options->as_json ? to_json(report).dump(2) + "\n" : to_text(report));
  });
}

}  // namespace hadal::cli
