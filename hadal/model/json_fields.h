#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "hadal/core/json.h"

namespace hadal::model {

/// Bounds of an integer, both included.
struct IntRange {
  int64_t min = 0, max = 0;
};

/// Bounds of a floating-point number: [min, max], or (min, max] if above_min.
struct NumberRange {
  double min = 0.0, max = 0.0;
  bool above_min = false;
};

/// Strict reading of one JSON object of a config file: each value has one type and a range, a wrong one is an
/// Error{kConfig} that names file, key, what was expected and what was found, and the keys that nobody asked for
/// are known at the end. Holds references: `object` must outlive it.
class JsonFields {
 public:
  /// `where` is the file; `parent` the key that holds the object, empty for the file's own.
  JsonFields(const json& object, const std::string& where, const std::string& parent = "");

  /// The value of a key, or null when the key is absent. Asking marks the key as read.
  const json* find(const std::string& key);
  /// The same, but JSON's null counts as absent.
  const json* find_value(const std::string& key);

  /// An absent key takes `fallback`, or is refused where there is none. null is a wrong type.
  int64_t integer(const std::string& key, IntRange range, std::optional<int64_t> fallback = std::nullopt);
  double number(const std::string& key, NumberRange range, std::optional<double> fallback = std::nullopt);
  bool boolean(const std::string& key, std::optional<bool> fallback = std::nullopt);
  std::string text(const std::string& key, std::optional<std::string> fallback = std::nullopt);

  /// A key that may be null or absent: empty then.
  std::optional<int64_t> optional_integer(const std::string& key, IntRange range);
  std::optional<std::string> optional_text(const std::string& key);
  /// One integer or a list of up to 64; null or absent: empty.
  std::vector<int64_t> integer_or_list(const std::string& key, IntRange range);

  /// Throws the Error for a key: what it should hold, what it holds, and optionally what to do.
  [[noreturn]] void refuse(const std::string& key, const std::string& expected,
                           const std::string& hint = "") const;

  /// The keys that were never asked for, in the file's order.
  std::vector<std::string> unread() const;

 private:
  int64_t check_integer(const std::string& key, const json& value, IntRange range) const;

  const json& object_;
  std::string where_, parent_;
  std::set<std::string> read_;
};

}  // namespace hadal::model
