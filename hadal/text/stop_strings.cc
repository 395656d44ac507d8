#include "hadal/text/stop_strings.h"

#include <algorithm>
#include <utility>

namespace hadal::text {
namespace {

// Where `text` may be the beginning of `stop` until its end; text.size() if nowhere.
size_t possible_start(std::string_view text, std::string_view stop) {
  size_t start = text.size() - std::min(text.size(), stop.size() - 1);
  while (!stop.starts_with(text.substr(start))) ++start;
  return start;
}

}  // namespace

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

std::string StopStrings::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  size_t first = 0, first_end = std::string::npos, safe = held_.size();
  for (const std::string& stop : stops_) {
    const size_t start = held_.find(stop);
    safe = std::min(safe, possible_start(held_, stop));
    if (start == std::string::npos || start + stop.size() > first_end) continue;
    first = start + stop.size() < first_end ? start : std::min(first, start);
    first_end = start + stop.size();
  }
  stopped_ = first_end != std::string::npos;
  if (stopped_) matched_ = held_.substr(first, first_end - first);
  std::string shown = held_.substr(0, stopped_ ? first : safe);
  held_.erase(0, stopped_ ? held_.size() : safe);
  return shown;
}

std::string StopStrings::finish() {
  return std::exchange(held_, {});
}

}  // namespace hadal::text
