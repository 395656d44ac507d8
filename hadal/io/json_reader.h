#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "hadal/core/json.h"

namespace hadal::io {

/// Text from a file as a message may show it: one line of ASCII, cut when it is long. Names in a file are chosen by
/// whoever wrote it, and a terminal obeys what it is sent.
std::string printable(std::string_view text);

/// Reads one JSON schema, without a tree: a derived class overrides the events that its schema has and every other
/// one is refused. No step recurses and nothing is kept but what the derived class keeps, so that neither depth nor
/// width of the text can cost more than the text itself.
class JsonReader : public nlohmann::json_sax<json> {
 public:
  explicit JsonReader(std::string where) : where_(std::move(where)) {}

  bool null() override { return scalar("null"); }
  bool boolean(bool value) override { return scalar(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return scalar(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return scalar(std::to_string(value)); }
  bool number_float(number_float_t /*value*/, const string_t& text) override {
    return scalar(printable(text));
  }
  bool string(string_t& value) override { return scalar('"' + printable(value) + '"'); }
  bool binary(binary_t& /*value*/) override { return scalar("binary data"); }
  bool start_object(size_t /*unknown in JSON*/) override { unexpected("an object"); }
  bool start_array(size_t /*unknown in JSON*/) override { unexpected("an array"); }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string& token,
                   const nlohmann::detail::exception& error) override;

  /// Parses the whole text, from its first byte to its last. Throws kCheckpoint; `where` opens each message.
  void read(std::string_view text);

 protected:
  const std::string& where() const { return where_; }
  /// Throws kCheckpoint: the schema has no such thing at this place.
  [[noreturn]] void unexpected(const std::string& found) const;
  /// The lines of that message between `where` and "found": at least "  expected  ...".
  virtual std::string expectation() const = 0;
  /// A value, neither object nor array, of a type that the derived class does not read.
  virtual bool scalar(const std::string& found) { unexpected(found); }

 private:
  std::string where_;
};

}  // namespace hadal::io
