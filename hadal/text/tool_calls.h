#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hadal/core/json.h"

namespace hadal::text {

/// How a model of the family writes a call between <｜tool▁call▁begin｜> and <｜tool▁call▁end｜>. The calls of an
/// answer stand between <｜tool▁calls▁begin｜> and <｜tool▁calls▁end｜>.
enum class ToolFormat : uint8_t {
  kNone,  // the chat template shows no calls; a model that is asked for some anyway is asked for kV31
  kV3,    // V3, R1: `function<｜tool▁sep｜>NAME`, then the arguments in a ```json block
  kV31,   // V3.1: `NAME<｜tool▁sep｜>ARGUMENTS`
};

namespace tool_tags {
inline constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>";
inline constexpr std::string_view kCallsEnd = "<｜tool▁calls▁end｜>";
inline constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>";
inline constexpr std::string_view kCallEnd = "<｜tool▁call▁end｜>";
inline constexpr std::string_view kSep = "<｜tool▁sep｜>";
inline constexpr std::string_view kOutputBegin = "<｜tool▁output▁begin｜>";
inline constexpr std::string_view kOutputEnd = "<｜tool▁output▁end｜>";
}  // namespace tool_tags

struct ToolPiece {
  enum class Kind : uint8_t { kText, kCallBegin, kArguments, kCallEnd };
  Kind kind;
  int index = 0;  // which call of the answer, from 0; 0 for kText
  std::string
      text{};  // the answer's text, the function's name, or a part of its arguments; empty for kCallEnd
};

/// Tells tool calls from the text around them in a streamed answer without thoughts. Reads both formats, whichever the
/// template has, and what models make of them: white space, a missing fence, end tag or <｜tool▁calls▁begin｜>. Markup
/// that begins no call is text; nothing else than markup, and white space beside it, is ever left out. Arguments are
/// given out as they are written, not checked; a call without any has "{}". Text that may become a tag is held back.
/// The first end tag ends a call, even inside a JSON string: a model that writes one there has stopped in the middle
/// more often than it quotes. Pieces depend on how the text is cut, what they add up to does not. Pure.
class ToolCallParser {
 public:
  std::vector<ToolPiece> push(std::string_view text);
  /// The end of the answer: what was held back, and the end of a call that was cut off.
  std::vector<ToolPiece> finish();

  /// Calls begun so far.
  int num_calls() const { return num_calls_; }

 private:
  enum class State : uint8_t { kText, kBetween, kHeader, kArguments };
  using Pieces = std::vector<ToolPiece>;

  // Each takes what it can from held_ and returns true if the next state may go on.
  bool read_text(Pieces& pieces);
  bool read_between(Pieces& pieces);
  bool read_header(Pieces& pieces);
  bool read_arguments(Pieces& pieces);

  void give_text(std::string_view text, Pieces& pieces);
  void fall_back(size_t tag_size, Pieces& pieces);
  void give_arguments(size_t size, Pieces& pieces);
  void end_call(Pieces& pieces);

  State state_ = State::kText;
  std::string held_;    // not yet understood
  std::string opened_;  // white space and <｜tool▁calls▁begin｜>: text after all if no call follows
  bool blank_ = true;   // no text but white space since the beginning or the last call
  bool has_arguments_ = false;
  int num_calls_ = 0;
};

/// The calls of an assistant message (`tool_calls` in OpenAI's form, arguments as a string) as the model writes them.
std::string write_tool_calls(ToolFormat format, const json& tool_calls);

}  // namespace hadal::text
