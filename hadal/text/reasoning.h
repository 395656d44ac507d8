#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hadal::text {

/// Tells a thinking model's reasoning from its answer in streamed text, by the tags <think> and </think>. Text that may be
/// the beginning of a tag is held back; the tags themselves are not given out. Pure.
class ReasoningSplitter {
 public:
  struct Piece {
    std::string text;
    bool thinking = false;
  };

  /// starts_thinking: the prompt itself ended with <think> (R1's template does so).
  explicit ReasoningSplitter(bool starts_thinking) : thinking_(starts_thinking) {}

  std::vector<Piece> push(std::string_view text);
  std::vector<Piece> finish();

 private:
  bool thinking_;
  std::string held_;
};

/// True if a rendered prompt ends inside an open <think> (white space after it does not count).
bool ends_in_thinking(std::string_view prompt);

/// Length of the longest end of `text` that is a proper beginning of `tag`: what a streaming search has to hold back.
size_t partial_match(std::string_view text, std::string_view tag);

}  // namespace hadal::text
