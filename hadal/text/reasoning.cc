#include "hadal/text/reasoning.h"

#include <algorithm>
#include <utility>

namespace hadal::text {
namespace {

constexpr std::string_view kOpen = "<think>", kClose = "</think>";

}  // namespace

size_t partial_match(std::string_view text, std::string_view tag) {
  for (size_t length = std::min(text.size(), tag.size() - 1); length > 0; --length) {
    if (text.ends_with(tag.substr(0, length))) return length;
  }
  return 0;
}

std::vector<ReasoningSplitter::Piece> ReasoningSplitter::push(std::string_view text) {
  std::vector<Piece> pieces;
  held_ += text;
  while (true) {
    const std::string_view tag = thinking_ ? kClose : kOpen;
    const size_t at = held_.find(tag);
    const size_t shown = at != std::string::npos ? at : held_.size() - partial_match(held_, tag);
    if (shown > 0) pieces.push_back({held_.substr(0, shown), thinking_});
    if (at == std::string::npos) {
      held_.erase(0, shown);
      return pieces;
    }
    held_.erase(0, at + tag.size());
    thinking_ = !thinking_;
  }
}

std::vector<ReasoningSplitter::Piece> ReasoningSplitter::finish() {
  if (held_.empty()) return {};
  return {{std::exchange(held_, {}), thinking_}};
}

bool ends_in_thinking(std::string_view prompt) {
  while (!prompt.empty() && (prompt.back() == '\n' || prompt.back() == ' ')) prompt.remove_suffix(1);
  return prompt.ends_with(kOpen);
}

}  // namespace hadal::text
