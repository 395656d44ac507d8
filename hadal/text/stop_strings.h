#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hadal::text {

/// Watches streamed text for stop strings. Text that may be the beginning of one is held back. Pure.
class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);

  /// What may be shown now: everything before the stop string that is complete first (the longest of those that end
  /// together), however the text is cut into pieces. Empty strings among `stops` are ignored.
  std::string push(std::string_view text);
  /// True once a stop string was seen; later text is dropped.
  bool stopped() const { return stopped_; }
  /// The one that was seen.
  const std::string& matched() const { return matched_; }
  /// What was held back and turned out to be no stop string.
  std::string finish();

 private:
  std::vector<std::string> stops_;
  std::string held_, matched_;
  bool stopped_ = false;
};

}  // namespace hadal::text
