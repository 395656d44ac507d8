#include "hadal/text/tool_calls.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/text/reasoning.h"

namespace hadal::text {
namespace {

using namespace tool_tags;  // NOLINT(google-build-using-namespace): the tags, defined in our own header

constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kFence = "```";
// Limits of what is held back for a header; models' names have at most 64 characters.
constexpr size_t kMaxHeader = 256, kMaxSpace = 64, kMaxLanguage = 16;

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

size_t without_space_at_end(std::string_view text) {
  return text.find_last_not_of(kSpace) + 1;  // npos + 1 is 0
}

// Reads the beginning of a text that may go on. What `failed` says of a text, it says of every longer one too, so that
// it does not matter where the text was cut.
struct Reader {
  std::string_view rest;
  bool failed = false, more_needed = false;

  bool ok() const { return !failed && !more_needed; }

  void literal(std::string_view expected) {
    if (!ok()) return;
    if (rest.starts_with(expected)) {
      rest.remove_prefix(expected.size());
    } else {
      (expected.starts_with(rest) ? more_needed : failed) = true;
    }
  }

  // Characters up to the first of `ends`, which has to come.
  std::string_view until(std::string_view ends, size_t limit) {
    if (!ok()) return {};
    const size_t size = std::min(rest.find_first_of(ends), rest.size());
    failed = size > limit;
    more_needed = !failed && size == rest.size();
    const std::string_view found = rest.substr(0, size);
    rest.remove_prefix(size);
    return found;
  }

  // White space, and then the character that is not.
  char after_space() {
    if (!ok()) return '\0';
    const size_t size = std::min(rest.find_first_not_of(kSpace), rest.size());
    failed = size > kMaxSpace;
    more_needed = !failed && size == rest.size();
    if (ok()) rest.remove_prefix(size);
    return ok() ? rest.front() : '\0';
  }

  // ```json and the white space after it, if that is what comes.
  void fence() {
    if (after_space() != '`') return;
    literal(kFence);
    const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
    size_t size = 0;
    while (ok() && size < rest.size() && is_letter(rest[size])) ++size;
    if (!ok()) return;
    failed = size > kMaxLanguage;
    more_needed = !failed && size == rest.size();
    rest.remove_prefix(size);
    after_space();
  }
};

struct Header {
  std::string_view name, rest;
  bool failed = false, more_needed = false;
};

// What stands between <｜tool▁call▁begin｜> and the arguments. Arguments are an object, in a fence or not, so what
// follows the separator tells the formats apart: a name never begins with a brace or a backtick.
Header read_call_header(std::string_view text) {
  Reader reader{text};
  reader.literal(kCallBegin);
  std::string_view name = reader.until("<", kMaxHeader);
  reader.literal(kSep);
  const char next = reader.after_space();
  if (next != '{' && next != '`' && next != '<') name = reader.until(" \t\r\n{`<", kMaxHeader);
  reader.fence();
  const char first = reader.after_space();
  name = trimmed(name);
  if (reader.ok()) {
    reader.failed = name.empty() || name.find_first_of(kSpace) != std::string_view::npos ||
                    (first != '{' && first != '<' && first != '`');
  }
  if (reader.ok() && first == '<') {  // no arguments; the tag is read with them
    Reader tag{reader.rest};
    tag.literal(kCallEnd);
    reader.failed = tag.failed;
    reader.more_needed = tag.more_needed;
  }
  return {name, reader.rest, reader.failed, reader.more_needed};
}

// The first of the tags that end a call's arguments; those of a neighbour do when its own is missing.
size_t find_end(std::string_view text) {
  return std::min({text.find(kCallEnd), text.find(kCallsEnd), text.find(kCallBegin)});
}

// How much of arguments without an end tag is certain: not white space, a fence and the beginning of a tag.
size_t certain_arguments(std::string_view text) {
  const size_t tag = std::max(
      {partial_match(text, kCallEnd), partial_match(text, kCallsEnd), partial_match(text, kCallBegin)});
  const size_t before_tag = without_space_at_end(text.substr(0, text.size() - tag));
  const size_t before_fence = text.substr(0, before_tag).find_last_not_of('`') + 1;
  const size_t backticks = before_tag - before_fence;
  if (backticks >= kFence.size()) return without_space_at_end(text.substr(0, before_tag - kFence.size()));
  return before_tag == text.size() ? without_space_at_end(text.substr(0, before_fence)) : before_tag;
}

// Arguments without the closing fence. An object ends with a brace, so backticks at the end are never its own.
size_t without_fence(std::string_view text) {
  size_t size = without_space_at_end(text);
  if (text.substr(0, size).ends_with(kFence))
    size = without_space_at_end(text.substr(0, size - kFence.size()));
  return size;
}

}  // namespace

std::vector<ToolPiece> ToolCallParser::push(std::string_view text) {
  Pieces pieces;
  held_ += text;
  bool going_on = true;
  while (going_on && !held_.empty()) {
    switch (state_) {
      case State::kText:
        going_on = read_text(pieces);
        break;
      case State::kBetween:
        going_on = read_between(pieces);
        break;
      case State::kHeader:
        going_on = read_header(pieces);
        break;
      case State::kArguments:
        going_on = read_arguments(pieces);
        break;
    }
  }
  return pieces;
}

std::vector<ToolPiece> ToolCallParser::finish() {
  Pieces pieces;
  if (state_ == State::kArguments) {
    // A whole fence was the end of the arguments; all else that is held back may be theirs.
    if (held_.find(kFence) == std::string::npos) give_arguments(held_.size(), pieces);
    held_.clear();
    end_call(pieces);
  }
  const std::string rest = std::exchange(opened_, {}) + std::exchange(held_, {});
  const bool only_space = rest.find_first_not_of(kSpace) == std::string::npos;
  if (!rest.empty() && !(only_space && blank_ && num_calls_ > 0)) {
    pieces.push_back({ToolPiece::Kind::kText, 0, rest});
  }
  state_ = State::kText;
  return pieces;
}

// Looks for the beginning of calls. White space is held back as long as there is no other text, because before calls,
// between and after them it is no part of the answer.
bool ToolCallParser::read_text(Pieces& pieces) {
  const size_t calls = held_.find(kCallsBegin), call = held_.find(kCallBegin), at = std::min(calls, call);
  const bool found = at != std::string::npos;
  const size_t shown =
      found ? at
            : held_.size() - std::max(partial_match(held_, kCallsBegin), partial_match(held_, kCallBegin));
  const size_t first = held_.find_first_not_of(kSpace);
  if (blank_ && first >= shown) {
    if (!found) return false;
  } else if (shown > 0) {
    give_text(std::string_view(held_).substr(0, shown), pieces);
    held_.erase(0, shown);
  }
  if (!found) return false;
  const size_t markup = held_.find_first_of('<') + (calls < call ? kCallsBegin.size() : 0);
  opened_ = held_.substr(0, markup);
  held_.erase(0, markup);
  state_ = calls < call ? State::kBetween : State::kHeader;
  return true;
}

// Between two calls, or before the first or after the last one of a list.
bool ToolCallParser::read_between(Pieces& pieces) {
  const size_t first = held_.find_first_not_of(kSpace);
  if (first == std::string::npos) return false;
  const std::string_view next = std::string_view(held_).substr(first);
  const bool after_call = opened_.empty();
  if (kCallBegin.starts_with(next) || (after_call && kCallsEnd.starts_with(next))) {
    if (next != kCallBegin && next != kCallsEnd) return false;
  }
  if (next.starts_with(kCallBegin)) {
    opened_ += held_.substr(0, first);
    held_.erase(0, first);
    state_ = State::kHeader;
  } else if (after_call && next.starts_with(kCallsEnd)) {
    held_.erase(0, first + kCallsEnd.size());
    state_ = State::kText;
  } else {
    fall_back(0, pieces);
  }
  return true;
}

bool ToolCallParser::read_header(Pieces& pieces) {
  const Header header = read_call_header(held_);
  if (header.more_needed) return false;
  if (header.failed) {
    fall_back(kCallBegin.size(), pieces);
    return true;
  }
  pieces.push_back({ToolPiece::Kind::kCallBegin, num_calls_++, std::string(header.name)});
  held_ = std::string(header.rest);
  opened_.clear();
  has_arguments_ = false;
  state_ = State::kArguments;
  return true;
}

bool ToolCallParser::read_arguments(Pieces& pieces) {
  const size_t end = find_end(held_);
  const std::string_view before = std::string_view(held_).substr(0, end);
  give_arguments(end == std::string::npos ? certain_arguments(before) : without_fence(before), pieces);
  if (end == std::string::npos) {
    held_.erase(0, certain_arguments(held_));
    return false;
  }
  held_.erase(0, end + (std::string_view(held_).substr(end).starts_with(kCallEnd) ? kCallEnd.size() : 0));
  end_call(pieces);
  return true;
}

void ToolCallParser::give_text(std::string_view text, Pieces& pieces) {
  blank_ = blank_ && text.find_first_not_of(kSpace) == std::string_view::npos;
  pieces.push_back({ToolPiece::Kind::kText, 0, std::string(text)});
}

// What was taken for the beginning of calls is text, the next tag_size bytes too; what follows is looked at again.
void ToolCallParser::fall_back(size_t tag_size, Pieces& pieces) {
  const std::string text = std::exchange(opened_, {}) + held_.substr(0, tag_size);
  held_.erase(0, tag_size);
  if (!text.empty()) give_text(text, pieces);
  state_ = State::kText;
}

void ToolCallParser::give_arguments(size_t size, Pieces& pieces) {
  if (size == 0) return;
  has_arguments_ = true;
  pieces.push_back({ToolPiece::Kind::kArguments, num_calls_ - 1, held_.substr(0, size)});
}

void ToolCallParser::end_call(Pieces& pieces) {
  const int index = num_calls_ - 1;
  if (!has_arguments_) pieces.push_back({ToolPiece::Kind::kArguments, index, "{}"});
  pieces.push_back({ToolPiece::Kind::kCallEnd, index});
  blank_ = true;
  state_ = State::kBetween;
}

std::string write_tool_calls(ToolFormat format, const json& tool_calls) {
  std::string text(kCallsBegin);
  for (const json& call : tool_calls) {
    const json& function = call.at("function");
    const auto name = function.at("name").get<std::string>();
    const auto arguments = function.at("arguments").get<std::string>();
    const bool fenced = format == ToolFormat::kV3;
    if (fenced && &call != &tool_calls.front()) text += '\n';
    text += kCallBegin;
    text += fenced ? fmt::format("function{}{}\n```json\n{}\n```", kSep, name, arguments)
                   : fmt::format("{}{}{}", name, kSep, arguments);
    text += kCallEnd;
  }
  return text.append(kCallsEnd);
}

}  // namespace hadal::text
