#include "hadal/core/error.h"

#include <set>

#include <gtest/gtest.h>

#include "hadal/core/checked.h"
#include "hadal/core/test_files.h"

namespace hadal {
namespace {

TEST(Error, HasKindAndMessage) {
  const std::string message =
      error_of(ErrorKind::kConfig, [] { fail(ErrorKind::kConfig, "{}: {}", "key", 7); });
  EXPECT_EQ(message, "key: 7");
}

TEST(Error, EachKindHasItsName) {
  std::set<std::string_view> names;
  for (const ErrorKind kind :
       {ErrorKind::kUsage, ErrorKind::kConfig, ErrorKind::kCheckpoint, ErrorKind::kRequest,
        ErrorKind::kCapacity, ErrorKind::kIo, ErrorKind::kInternal}) {
    names.insert(to_string(kind));
  }
  EXPECT_EQ(names, (std::set<std::string_view>{"usage", "config", "checkpoint", "request", "capacity", "io",
                                               "internal"}));
}

TEST(Error, PrintsShapes) {
  const std::array<int64_t, 3> shape = {2, 0, -1};
  EXPECT_EQ(to_string(std::span<const int64_t>(shape)), "[2, 0, -1]");
  EXPECT_EQ(to_string(std::span<const int64_t>()), "[]");
}

TEST(Check, SaysWhereWhatAndThatItIsABug) {
  const int line = __LINE__ + 1;
  const std::string message = error_of(ErrorKind::kInternal, [] { HADAL_CHECK(1 + 1 == 3, "x is {}", 2); });
  EXPECT_TRUE(contains(message, {"error_test.cc:" + std::to_string(line) + ": x is 2 (expected 1 + 1 == 3)",
                                 "this is a bug in hadal"}));
}

TEST(Check, PassesInSilenceAndFormatsNothing) {
  int formatted = 0;
  HADAL_CHECK(true, "{}", ++formatted);
  EXPECT_EQ(formatted, 0);
}

TEST(Checked, MultipliesAndAddsOrSaysNo) {
  constexpr int64_t kMax = INT64_MAX;
  EXPECT_EQ(checked_mul(3, -4), -12);
  EXPECT_EQ(checked_mul(kMax, 1), kMax);
  EXPECT_EQ(checked_mul(0, kMax), 0);
  EXPECT_EQ(checked_mul(kMax / 2 + 1, 2), std::nullopt);
  EXPECT_EQ(checked_mul(INT64_MIN, -1), std::nullopt);
  EXPECT_EQ(checked_add(kMax, -1), kMax - 1);
  EXPECT_EQ(checked_add(kMax, 1), std::nullopt);
  EXPECT_EQ(checked_add(INT64_MIN, -1), std::nullopt);
}

}  // namespace
}  // namespace hadal
