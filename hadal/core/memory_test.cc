#include "hadal/core/memory.h"

#include <array>

#include <gtest/gtest.h>

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
