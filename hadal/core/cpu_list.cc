#include "hadal/core/cpu_list.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <optional>
#include <thread>

#include <sched.h>

#include "hadal/core/error.h"

namespace hadal {
namespace {

constexpr int kMostCpus = 65536;  // Linux's own limit is 8192

using CpuSet = std::array<cpu_set_t, kMostCpus / CPU_SETSIZE>;

// Takes a number off the front.
std::optional<int> take_number(std::string_view& text) {
  int number = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  if (result.ec != std::errc() || number < 0 || number >= kMostCpus) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(result.ptr - text.data()));
  return number;
}

bool take(std::string_view& text, char sign) {
  if (!text.starts_with(sign)) return false;
  text.remove_prefix(1);
  return true;
}

// "5", "0-15" or "0-15:2" off the front; false if it is none of them.
bool take_range(std::string_view& text, CpuList& cpus) {
  const auto first = take_number(text);
  std::optional<int> last = first, step = 1;
  if (take(text, '-')) {
    last = take_number(text);
    if (take(text, ':')) step = take_number(text);
  }
  if (!first || !last || !step || *last < *first || *step == 0) return false;
  for (int cpu = *first; cpu <= *last; cpu += *step) cpus.push_back(cpu);
  return true;
}

CpuList read_affinity() {
  CpuList cpus;
  CpuSet set{};
  if (sched_getaffinity(0, sizeof set, set.data()) == 0) {
    for (int cpu = 0; cpu < kMostCpus; ++cpu) {
      if (CPU_ISSET_S(static_cast<size_t>(cpu), sizeof set, set.data())) cpus.push_back(cpu);
    }
  }
  if (!cpus.empty()) return cpus;
  for (int cpu = 0; cpu < std::max(1, static_cast<int>(std::thread::hardware_concurrency())); ++cpu)
    cpus.push_back(cpu);
  return cpus;
}

}  // namespace

CpuList parse_cpu_list(std::string_view text, std::string_view where) {
  CpuList cpus;
  std::string_view rest = text;
  do {
    if (take_range(rest, cpus) && (rest.empty() || rest.front() == ',')) continue;
    fail(ErrorKind::kUsage, "{}\n  expected  processors, such as 0-15,32 or 0-30:2\n  found     {}", where,
         text);
  } while (take(rest, ','));
  std::ranges::sort(cpus);
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

std::string to_string(const CpuList& cpus) {
  std::string text;
  for (size_t i = 0; i < cpus.size();) {
    size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ",", cpus[i]);
    if (last > i) text += fmt::format("-{}", cpus[last]);
    i = last + 1;
  }
  return text;
}

const CpuList& allowed_cpus() {
  static const CpuList found = read_affinity();
  return found;
}

bool pin_this_thread(const CpuList& cpus) {
  CpuSet set{};
  for (const int cpu : cpus) {
    if (cpu < 0 || cpu >= kMostCpus) return false;
    CPU_SET_S(static_cast<size_t>(cpu), sizeof set, set.data());
  }
  return sched_setaffinity(0, sizeof set, set.data()) == 0;
}

}  // namespace hadal
