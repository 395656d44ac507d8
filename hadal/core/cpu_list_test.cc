#include "hadal/core/cpu_list.h"

#include <algorithm>
#include <thread>

#include <gtest/gtest.h>
#include <sched.h>

#include "hadal/core/test_files.h"

namespace hadal {
namespace {

CpuList parsed(const std::string& text) {
  return parse_cpu_list(text, "--cpu-list");
}

TEST(CpuList, ParsesWhatTasksetTakes) {
  EXPECT_EQ(parsed("3"), CpuList({3}));
  EXPECT_EQ(parsed("0-3,8"), CpuList({0, 1, 2, 3, 8}));
  EXPECT_EQ(parsed("0-6:2"), CpuList({0, 2, 4, 6}));
  EXPECT_EQ(parsed("9,1-2,2-3,1"), CpuList({1, 2, 3, 9}));
  EXPECT_EQ(parsed("65535"), CpuList({65535}));
}

TEST(CpuList, RefusesTheRest) {
  for (const char* text : {"", ",", "1,", ",1", "a", "1a", "1-", "-1", "3-1", "0-3:0", "0-3:", "1:2", "1 2",
                           "65536", "99999999999999999999", "0x3"}) {
    SCOPED_TRACE(text);
    EXPECT_TRUE(
        contains(error_of(ErrorKind::kUsage, [&] { parsed(text); }), {"--cpu-list", "expected", "0-15,32"}));
  }
}

TEST(CpuList, IsWrittenInRanges) {
  EXPECT_EQ(to_string(CpuList{}), "");
  EXPECT_EQ(to_string(CpuList{5}), "5");
  EXPECT_EQ(to_string(CpuList{0, 1, 2, 4, 6, 7}), "0-2,4,6-7");
}

TEST(CpuList, AThreadRunsWhereItIsPinned) {
  ASSERT_FALSE(allowed_cpus().empty());
  const int last = allowed_cpus().back();
  bool accepted = false, refused = true;
  int ran_on = -1;
  std::thread([&] {
    accepted = pin_this_thread({last});
    ran_on = sched_getcpu();
    refused = !pin_this_thread({65535}) && !pin_this_thread({});
  }).join();
  EXPECT_TRUE(accepted);
  EXPECT_EQ(ran_on, last);
  EXPECT_TRUE(refused);
}

}  // namespace
}  // namespace hadal
