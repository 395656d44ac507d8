#include "hadal/io/json_reader.h"

#include "hadal/core/error.h"

namespace hadal::io {

std::string printable(std::string_view text) {
  constexpr size_t kLongest = 200;  // the longest tensor name of the family has 66 characters
  std::string line(text.substr(0, kLongest));
  for (char& c : line) {
    if (c < ' ' || c > '~') c = '?';
  }
  if (text.size() > kLongest) line += "...";
  return line;
}

void JsonReader::read(std::string_view text) {
  // nlohmann's lexer takes a NUL for the end of the text, and what follows it would go unread.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    fail(ErrorKind::kCheckpoint, "{}\n  JSON      byte {}: a NUL character", where_, nul);
  }
  json::sax_parse(text.begin(), text.end(), this);
}

void JsonReader::unexpected(const std::string& found) const {
  fail(ErrorKind::kCheckpoint, "{}\n{}\n  found     {}", where_, expectation(), found);
}

bool JsonReader::parse_error(size_t position, const std::string& /*token*/,
                             const nlohmann::detail::exception& error) {
  std::string_view reason = error.what();
  // "[json.exception.parse_error.101] parse error at line 1, column 9: syntax error ...": the last part is enough.
  if (const size_t colon = reason.find(": "); colon != std::string_view::npos)
    reason.remove_prefix(colon + 2);
  fail(ErrorKind::kCheckpoint, "{}\n  JSON      byte {}: {}", where_, position, printable(reason));
}

}  // namespace hadal::io
