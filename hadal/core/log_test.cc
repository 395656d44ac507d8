#include "hadal/core/log.h"

#include <string>

#include <gtest/gtest.h>

namespace hadal {
namespace {

// What a log call writes to stderr at this level; nothing may go to stdout.
template <class Action>
std::string logged(LogLevel level, const Action& action) {
  set_log_level(level);
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  action();
  set_log_level(LogLevel::kWarning);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  return testing::internal::GetCapturedStderr();
}

TEST(Log, WritesLinesToStderr) {
  EXPECT_EQ(logged(LogLevel::kWarning, [] { log_warning("{} of {}", 1, 2); }), "warning: 1 of 2\n");
  EXPECT_EQ(logged(LogLevel::kInfo, [] { log_info("braces {}", "{}"); }), "info: braces {}\n");
  EXPECT_EQ(logged(LogLevel::kDebug, [] { log_line(LogLevel::kError, "%s {0}"); }), "error: %s {0}\n");
}

TEST(Log, DropsWhatIsBelowTheLevel) {
  EXPECT_EQ(logged(LogLevel::kWarning, [] { log_info("quiet"); }), "");
  EXPECT_EQ(logged(LogLevel::kInfo, [] { log_line(LogLevel::kDebug, "quiet"); }), "");
  EXPECT_EQ(logged(LogLevel::kError, [] { log_warning("quiet"); }), "");
}

}  // namespace
}  // namespace hadal
