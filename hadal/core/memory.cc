#include "hadal/core/memory.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include <sys/mman.h>
#include <sys/resource.h>

#include "hadal/core/cgroup.h"
#include "hadal/core/error.h"
#include "hadal/core/log.h"
#include "hadal/core/proc_file.h"

namespace hadal {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

}  // namespace

int64_t available_memory_bytes(const std::string& root) {
  const auto kib = number_of(root + "/proc/meminfo", "MemAvailable:");
  return std::min(kib ? *kib * 1024 : kUnlimited, read_cgroup(root).memory_left.value_or(kUnlimited));
}

void check_memory(std::span<const MemoryNeed> needs, int64_t available) {
  int64_t total = 0;
  std::string lines;
  for (const MemoryNeed& need : needs) {
    total += need.bytes;
    lines += fmt::format("  {:<9} {} ({} bytes)\n", need.what, format_bytes(need.bytes), need.bytes);
  }
  if (total <= available) return;
  fail(ErrorKind::kCapacity,
       "not enough memory\n{}  needed    {} ({} bytes)\n  available {} ({} bytes)\n"
       "  hint      a smaller model or format, a shorter --max-model-len, or fewer prompts at once",
       lines, format_bytes(total), total, format_bytes(available), available);
}

std::string to_string(const MemoryPlan& plan) {
  std::string text = fmt::format("memory: weights {} ({})", format_bytes(plan.weights),
                                 plan.can_drop_weights ? "mapped" : "kept");
  for (const MemoryNeed& need : plan.needs)
    text += fmt::format(", {} {}", need.what, format_bytes(need.bytes));
  if (plan.available == kUnlimited) return text;
  return text + fmt::format("; {} available", format_bytes(plan.available));
}

void check_plan(const MemoryPlan& plan) {
  std::vector<MemoryNeed> needs = plan.needs;
  int64_t total = plan.weights;
  for (const MemoryNeed& need : needs) total += need.bytes;
  if (!plan.can_drop_weights) needs.insert(needs.begin(), {"weights", plan.weights});
  check_memory(needs, plan.available);
  if (total <= plan.available) return;
  log_warning(
      "{}: the weights do not fit beside the rest, so {} or more are read from the disk for each pass "
      "over them",
      to_string(plan), format_bytes(total - plan.available));
}

std::optional<int64_t> lock_limit_bytes() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return static_cast<int64_t>(limit.rlim_cur);
}

void lock_memory(std::span<const std::byte> bytes, const std::string& what) {
  if (bytes.empty() || mlock(bytes.data(), bytes.size()) == 0) return;
  const int reason = errno;
  const auto limit = lock_limit_bytes();
  fail(ErrorKind::kCapacity,
       "{}\n  cannot be locked in memory ({}): {}\n  RLIMIT_MEMLOCK is {}, for all that is locked together\n"
       "  hint      ulimit -l unlimited, LimitMEMLOCK=infinity for systemd, --ulimit memlock=-1 for docker; "
       "or no "
       "--mlock",
       what, format_bytes(static_cast<int64_t>(bytes.size())), std::strerror(reason),
       limit ? format_bytes(*limit) : "unlimited");
}

std::string format_bytes(int64_t bytes) {
  if (bytes >= int64_t{1} << 30) return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / (1 << 30));
  if (bytes >= int64_t{1} << 20) return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
  if (bytes >= int64_t{1} << 10) return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / (1 << 10));
  return fmt::format("{} B", bytes);
}

}  // namespace hadal
