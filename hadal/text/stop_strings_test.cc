#include "hadal/text/stop_strings.h"

#include <random>

#include <gtest/gtest.h>

namespace hadal::text {
namespace {

TEST(StopStrings, ShowsWhatComesBeforeTheFirstStop) {
  StopStrings stops({"END", "\n\n"});
  EXPECT_EQ(stops.push("hello E"), "hello ");
  EXPECT_EQ(stops.push("N"), "");
  EXPECT_EQ(stops.push("x"), "ENx");
  EXPECT_EQ(stops.push("a\n"), "a");
  EXPECT_EQ(stops.push("\nb END"), "");
  EXPECT_TRUE(stops.stopped());
  EXPECT_EQ(stops.push("more"), "");
  EXPECT_EQ(stops.finish(), "");
}

TEST(StopStrings, GivesBackWhatWasHeld) {
  StopStrings stops({"aab"});
  EXPECT_EQ(stops.push("xaa"), "x");
  EXPECT_EQ(stops.push("a"), "a");  // "aa" may still begin the stop string
  EXPECT_EQ(stops.finish(), "aa");
  EXPECT_FALSE(stops.stopped());
}

TEST(StopStrings, WithoutStopsIsTransparent) {
  StopStrings stops({"", ""});
  EXPECT_EQ(stops.push("anything"), "anything");
  EXPECT_FALSE(stops.stopped());
  EXPECT_EQ(stops.finish(), "");
}

// However the text is cut, the outcome is that of the whole text.
TEST(StopStrings, DoesNotDependOnHowTheTextIsCut) {
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::string text(1 + random() % 30, 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    const std::vector<std::string> stops = {std::string("aabab").substr(random() % 3), "bbb"};
    size_t first = std::string::npos, first_end = std::string::npos;
    for (size_t end = 1; end <= text.size() && first == std::string::npos; ++end) {
      for (const std::string& stop : stops) {
        if (std::string_view(text).substr(0, end).ends_with(stop)) first = std::min(first, end - stop.size());
      }
      first_end = end;
    }

    StopStrings watch(stops);
    std::string shown;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + random() % 4;
      shown += watch.push(std::string_view(text).substr(at, n));
      at += n;
    }
    shown += watch.finish();
    EXPECT_EQ(watch.stopped(), first != std::string::npos);
    EXPECT_EQ(shown, text.substr(0, first)) << text << " ends at " << first_end;
  }
}

}  // namespace
}  // namespace hadal::text
