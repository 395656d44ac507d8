#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "hadal/core/json.h"

namespace hadal::serve {

enum class FieldType : uint8_t { kBoolean, kInteger, kNumber, kString, kArray, kObject, kAny };

/// One field that a request may have: its type, and for numbers its range, for text and lists the longest. The tables of these
/// are the one place where that is written: requests are read by them and /openapi.json is made of them.
struct FieldRule {
  const char* name;
  FieldType type;
  double min = -std::numeric_limits<double>::infinity(), max = std::numeric_limits<double>::infinity();
  const char* about = "";
};

/// A JSON object read by its rules. Fields that no rule names are left alone, as OpenAI's clients expect; null is as absent.
class FieldReader {
 public:
  /// Throws ApiError: 400 for a value of another type, 422 for one out of range, with the field's name. `where` goes before the
  /// names of fields within fields ("stream_options."). object and rules outlive the reader.
  FieldReader(const json& object, std::span<const FieldRule> rules, std::string where = "");

  /// Null if it is absent. The name is one of the rules'.
  const json* find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }

  std::optional<bool> boolean(std::string_view name) const;
  std::optional<int64_t> integer(std::string_view name) const;
  std::optional<double> number(std::string_view name) const;
  std::optional<std::string> string(std::string_view name) const;
  /// A list of text. Throws ApiError 400 if something else is in it.
  std::vector<std::string> strings(std::string_view name) const;
  /// A list of integers within the range.
  std::vector<int64_t> integers(std::string_view name, int64_t min, int64_t max) const;

  /// Throws ApiError with the field's full name.
  [[noreturn]] void refuse(int status, std::string_view name, const std::string& message) const;

 private:
  void check(const FieldRule& rule, const json& value) const;

  const json& object_;
  std::span<const FieldRule> rules_;
  std::string where_;
};

/// The body of a request as an object. Throws ApiError 400.
json parse_body(const std::string& body);

}  // namespace hadal::serve
