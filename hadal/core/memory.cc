#include "hadal/core/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "hadal/core/error.h"

namespace hadal {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

std::optional<int64_t> read_number(const char* path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;  // absent, or "max"
}

// A value of /proc/meminfo or of the cgroup's memory.stat, in the file's own unit.
std::optional<int64_t> read_field(const char* path, const std::string& field) {
  std::ifstream file(path);
  std::string name;
  int64_t value = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, field.size(), field) != 0) continue;
    value = std::strtoll(line.c_str() + field.size(), nullptr, 10);
    return value;
  }
  return std::nullopt;
}

// Pages of files count as used in a cgroup, but they go when someone needs the memory.
int64_t cgroup_left() {
  const auto limit = read_number("/sys/fs/cgroup/memory.max"),
             used = read_number("/sys/fs/cgroup/memory.current");
  if (!limit || !used) return kUnlimited;
  const int64_t droppable = read_field("/sys/fs/cgroup/memory.stat", "file ").value_or(0);
  return std::max<int64_t>(0, *limit - *used + droppable);
}

}  // namespace

int64_t available_memory_bytes() {
  const auto kib = read_field("/proc/meminfo", "MemAvailable:");
  return std::min(kib ? *kib * 1024 : kUnlimited, cgroup_left());
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

std::string format_bytes(int64_t bytes) {
  if (bytes >= int64_t{1} << 30) return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / (1 << 30));
  if (bytes >= int64_t{1} << 20) return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
  if (bytes >= int64_t{1} << 10) return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / (1 << 10));
  return fmt::format("{} B", bytes);
}

}  // namespace hadal
