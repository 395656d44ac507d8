#include "hadal/core/memory.h"

#include <array>
#include <cstdio>
#include <fstream>
#include <limits>
#include <vector>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hadal/core/buffer.h"
#include "hadal/core/test_files.h"

namespace hadal {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30, kMiB = int64_t{1} << 20;

TEST(CheckMemory, PassesWhatFits) {
  const std::array needs = {MemoryNeed{"weights", 3 * kGiB}, MemoryNeed{"KV cache", kMiB}};
  EXPECT_NO_THROW(check_memory(needs, 3 * kGiB + kMiB));
  EXPECT_NO_THROW(check_memory({}, 0));
}

TEST(CheckMemory, SaysEveryNumberOfWhatDoesNot) {
  const std::array needs = {MemoryNeed{"weights", 3 * kGiB}, MemoryNeed{"KV cache", kMiB}};
  const std::string message =
      error_of(ErrorKind::kCapacity, [&] { check_memory(needs, 3 * kGiB + kMiB - 1); });
  EXPECT_TRUE(contains(message, {"not enough memory", "weights   3.00 GiB (3221225472 bytes)",
                                 "KV cache  1.0 MiB (1048576 bytes)", "needed    3.00 GiB (3222274048 bytes)",
                                 "available 3.00 GiB (3222274047 bytes)", "hint"}));
}

TEST(MemoryPlan, IsOneLine) {
  MemoryPlan plan{3 * kGiB, true, {{"KV cache", kMiB}, {"scratch", 2 * kMiB}}, 8 * kGiB};
  EXPECT_EQ(to_string(plan),
            "memory: weights 3.00 GiB (mapped), KV cache 1.0 MiB, scratch 2.0 MiB; 8.00 GiB available");
  EXPECT_EQ(to_string(MemoryPlan{kGiB, false, {}, std::numeric_limits<int64_t>::max()}),
            "memory: weights 1.00 GiB (kept)");
}

// What the log has on stderr.
std::string warning_of(const MemoryPlan& plan) {
  testing::internal::CaptureStderr();
  check_plan(plan);
  return testing::internal::GetCapturedStderr();
}

TEST(MemoryPlan, OnlyWarnsOfWeightsThatCanBeDropped) {
  EXPECT_EQ(warning_of({3 * kGiB, true, {{"KV cache", kGiB}}, 4 * kGiB}), "");
  const std::string warning = warning_of({3 * kGiB, true, {{"KV cache", kGiB + kMiB}}, 4 * kGiB});
  EXPECT_TRUE(
      contains(warning, {"weights 3.00 GiB (mapped)", "4.00 GiB available", "1.0 MiB or more", "disk"}));
}

TEST(MemoryPlan, RefusesWhatMustBeInMemory) {
  const auto refusal = [](const MemoryPlan& plan) {
    return error_of(ErrorKind::kCapacity, [&] { check_plan(plan); });
  };
  const std::string cache = refusal({3 * kGiB, true, {{"KV cache", 5 * kGiB}}, 4 * kGiB});
  EXPECT_TRUE(contains(cache, {"not enough memory", "KV cache  5.00 GiB", "available 4.00 GiB", "hint"}));
  const std::string kept = refusal({3 * kGiB, false, {{"KV cache", kGiB + 1}}, 4 * kGiB});
  EXPECT_TRUE(
      contains(kept, {"weights   3.00 GiB", "KV cache  1.00 GiB", "needed    4.00 GiB (4294967297 bytes)"}));
  EXPECT_NO_THROW(check_plan({3 * kGiB, false, {{"KV cache", kGiB}}, 4 * kGiB}));
}

#ifndef HADAL_SANITIZED  // sanitizers make mlock() do nothing
// Root may lock what it likes, so the child is somebody else.
TEST(LockMemory, NamesTheLimitThatRefuses) {
  const std::vector<std::byte> bytes(static_cast<size_t>(kMiB));
  EXPECT_EXIT(
      {
        rlimit limit{};
        limit.rlim_cur = limit.rlim_max = 4096;
        if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || (geteuid() == 0 && setuid(65534) != 0)) _exit(2);
        try {
          lock_memory(bytes, "model.safetensors");
        } catch (const Error& e) {
          std::fprintf(stderr, "%s", e.what());
          _exit(e.kind() == ErrorKind::kCapacity ? 7 : 3);
        }
        _exit(4);
      },
      testing::ExitedWithCode(7), "model.safetensors\n.*1.0 MiB.*\n.*RLIMIT_MEMLOCK is 4.0 KiB");
}

// "VmLck:      16 kB"
int64_t locked_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string name; status >> name;) {
    int64_t kib = 0;
    if (name == "VmLck:" && status >> kib) return kib;
  }
  return 0;
}

TEST(LockMemory, LocksWhatItMay) {
  const int64_t before = locked_kib();
  const Buffer buffer(16 << 10);  // within the 64 KiB or 8 MiB that Linux gives everybody
  lock_memory({buffer.data(), 16 << 10}, "buffer");
  EXPECT_EQ(locked_kib() - before, 16);
  EXPECT_NO_THROW(lock_memory({}, "nothing"));
}
#endif

TEST(FormatBytes, ChoosesTheUnit) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(kMiB), "1.0 MiB");
  EXPECT_EQ(format_bytes(312 * kMiB), "312.0 MiB");
  EXPECT_EQ(format_bytes(kGiB), "1.00 GiB");
  EXPECT_EQ(format_bytes(3 * kGiB / 2), "1.50 GiB");
}

TEST(AvailableMemory, IsTheSmallerOfTheMachinesAndTheGroups) {
  const TempFolder root;
  EXPECT_EQ(available_memory_bytes(root.path()), std::numeric_limits<int64_t>::max());
  root.write("proc/meminfo", "MemTotal:  9 kB\nMemAvailable:       5 kB\n");
  EXPECT_EQ(available_memory_bytes(root.path()), 5 * 1024);
  root.write("proc/self/cgroup", "0::/inner\n");
  root.write("sys/fs/cgroup/inner/memory.max", "4000\n");
  root.write("sys/fs/cgroup/inner/memory.current", "1000\n");
  EXPECT_EQ(available_memory_bytes(root.path()), 3000);
}

TEST(AvailableMemory, IsPositiveAndNotMoreThanTheMachineHas) {
  const int64_t available = available_memory_bytes();
  EXPECT_GT(available, 0);
  std::ifstream meminfo("/proc/meminfo");  // "MemTotal:       32000000 kB"
  std::string name;
  int64_t total_kib = 0;
  if (meminfo >> name >> total_kib) {
    EXPECT_LE(available, total_kib * 1024);
  }
}

}  // namespace
}  // namespace hadal
