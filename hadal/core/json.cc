#include "hadal/core/json.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <vector>

#include <nlohmann/json.hpp>

namespace hadal {
namespace {

struct Position {
  int64_t line = 1, column = 1;
};

Position position_of(std::string_view text, size_t byte) {
  Position at;
  for (size_t i = 0; i < byte && i < text.size(); ++i) {
    if (text[i] == '\n') {
      ++at.line;
      at.column = 1;
    } else {
      ++at.column;
    }
  }
  return at;
}

// An object of ordered_json looks through all of its keys for each new one; that of a request has no more.
constexpr size_t kMaxRequestKeys = 4096;

// Builds the value, and watches for what nlohmann accepts and we do not: deep nesting and duplicate keys. The check runs while
// the parser is still iterative, so that no recursive copy or destructor ever meets a deep value. nlohmann's own way to look on,
// a callback, goes through the whole of a list after each entry.
class StrictBuilder : public nlohmann::detail::json_sax_dom_parser<json> {
 public:
  StrictBuilder(json& value, const std::string& where, ErrorKind kind)
      : json_sax_dom_parser(value), where_(where), kind_(kind) {}

  bool start_object(size_t size) {
    open();
    return json_sax_dom_parser::start_object(size);
  }
  bool start_array(size_t size) {
    open();
    return json_sax_dom_parser::start_array(size);
  }
  bool end_object() {
    keys_.pop_back();
    return json_sax_dom_parser::end_object();
  }
  bool end_array() {
    keys_.pop_back();
    return json_sax_dom_parser::end_array();
  }
  bool key(std::string& name) {
    if (!keys_.back().insert(name).second)
      fail(kind_, "{}\n  JSON      key \"{}\" appears twice in one object", where_, name);
    if (kind_ == ErrorKind::kRequest && keys_.back().size() > kMaxRequestKeys)
      fail(kind_, "{}\n  JSON      more than {} keys in one object", where_, kMaxRequestKeys);
    return json_sax_dom_parser::key(name);
  }

 private:
  void open() {
    if (keys_.size() >= static_cast<size_t>(kMaxJsonDepth))
      fail(kind_, "{}\n  JSON      nested deeper than {} levels", where_, kMaxJsonDepth);
    keys_.emplace_back();
  }

  const std::string& where_;
  ErrorKind kind_;
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

json parse_json(std::string_view text, const std::string& where, ErrorKind kind) {
  // nlohmann takes a NUL byte for the end of the text, so that what follows would go unread; JSON has no such byte.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    const Position at = position_of(text, nul);
    fail(kind, "{}\n  JSON      line {}, column {}: a NUL byte", where, at.line, at.column);
  }
  try {
    json value;
    StrictBuilder builder(value, where, kind);
    json::sax_parse(text, &builder);
    return value;
  } catch (const json::parse_error& e) {
    const Position at = position_of(text, e.byte > 0 ? e.byte - 1 : 0);
    std::string_view reason = e.what();
    if (const size_t colon = reason.rfind("; "); colon != std::string_view::npos)
      reason.remove_prefix(colon + 2);
    fail(kind, "{}\n  JSON      line {}, column {}: {}", where, at.line, at.column, reason);
  } catch (const json::exception& e) {
    fail(kind, "{}\n  JSON      {}", where, e.what());
  }
}

std::string read_text_file(const std::string& path, int64_t max_bytes, ErrorKind kind) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    fail(ErrorKind::kIo, "{}\n  expected  a file\n  found     a folder", path);
  }
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) fail(ErrorKind::kIo, "{}\n  cannot be opened: {}", path, std::strerror(errno));
  std::string text;
  char buffer[1 << 16];
  for (size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, file.get())) > 0;) {
    text.append(buffer, n);
    if (static_cast<int64_t>(text.size()) > max_bytes) {
      fail(kind, "{}\n  expected  at most {} bytes\n  found     more", path, max_bytes);
    }
  }
  if (std::ferror(file.get())) fail(ErrorKind::kIo, "{}\n  cannot be read: {}", path, std::strerror(errno));
  return text;
}

json read_json_file(const std::string& path, int64_t max_bytes, ErrorKind kind) {
  return parse_json(read_text_file(path, max_bytes, kind), path, kind);
}

}  // namespace hadal
