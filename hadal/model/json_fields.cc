#include "hadal/model/json_fields.h"

#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

namespace hadal::model {
namespace {

constexpr size_t kMaxListLength = 64;   // ids in one list: the releases have one or two
constexpr size_t kMaxFoundLength = 80;  // characters of a refused value that a message quotes

std::string abbreviated(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > kMaxFoundLength) text = text.substr(0, kMaxFoundLength) + "...";
  return text;
}

}  // namespace

JsonFields::JsonFields(const json& object, const std::string& where, const std::string& parent)
    : object_(object), where_(where), parent_(parent) {
  if (object.is_object()) return;
  fail(ErrorKind::kConfig, "{}\n  key       {}\n  expected  a JSON object\n  found     {}", where,
       parent.empty() ? "(the whole file)" : parent, abbreviated(object));
}

const json* JsonFields::find(const std::string& key) {
  read_.insert(key);
  const auto it = object_.find(key);
  return it == object_.end() ? nullptr : &*it;
}

const json* JsonFields::find_value(const std::string& key) {
  const json* value = find(key);
  return value && value->is_null() ? nullptr : value;
}

int64_t JsonFields::integer(const std::string& key, IntRange range, std::optional<int64_t> fallback) {
  const json* value = find(key);
  if (value) return check_integer(key, *value, range);
  if (fallback) return *fallback;
  refuse(key, fmt::format("an integer from {} to {}", range.min, range.max));
}

double JsonFields::number(const std::string& key, NumberRange range, std::optional<double> fallback) {
  const json* value = find(key);
  if (!value && fallback) return *fallback;
  if (value && value->is_number()) {
    const auto x = value->get<double>();
    const bool above = range.above_min ? x > range.min : x >= range.min;
    if (std::isfinite(x) && above && x <= range.max) return x;
  }
  refuse(key, fmt::format("a number {} {} and at most {}", range.above_min ? "above" : "of at least",
                          range.min, range.max));
}

bool JsonFields::boolean(const std::string& key, std::optional<bool> fallback) {
  const json* value = find(key);
  if (!value && fallback) return *fallback;
  if (value && value->is_boolean()) return value->get<bool>();
  refuse(key, "true or false");
}

std::string JsonFields::text(const std::string& key, std::optional<std::string> fallback) {
  const json* value = find(key);
  if (!value && fallback) return *fallback;
  if (value && value->is_string()) return value->get<std::string>();
  refuse(key, "a string");
}

std::optional<int64_t> JsonFields::optional_integer(const std::string& key, IntRange range) {
  const json* value = find_value(key);
  if (!value) return std::nullopt;
  return check_integer(key, *value, range);
}

std::optional<std::string> JsonFields::optional_text(const std::string& key) {
  if (!find_value(key)) return std::nullopt;
  return text(key);
}

std::vector<int64_t> JsonFields::integer_or_list(const std::string& key, IntRange range) {
  const json* value = find_value(key);
  if (!value) return {};
  if (!value->is_array()) return {check_integer(key, *value, range)};
  if (value->size() > kMaxListLength) refuse(key, fmt::format("at most {} integers", kMaxListLength));
  std::vector<int64_t> list;
  for (const json& element : *value) list.push_back(check_integer(key, element, range));
  return list;
}

void JsonFields::refuse(const std::string& key, const std::string& expected, const std::string& hint) const {
  const auto it = object_.find(key);
  fail(ErrorKind::kConfig, "{}\n  key       {}{}{}\n  expected  {}\n  found     {}{}{}", where_, parent_,
       parent_.empty() ? "" : ".", key, expected, it == object_.end() ? "no such key" : abbreviated(*it),
       hint.empty() ? "" : "\n  hint      ", hint);
}

std::vector<std::string> JsonFields::unread() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object_.items()) {
    if (!read_.contains(key)) keys.push_back(key);
  }
  return keys;
}

int64_t JsonFields::check_integer(const std::string& key, const json& value, IntRange range) const {
  const bool too_large = value.is_number_unsigned() &&
                         value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (value.is_number_integer() && !too_large) {
    const auto n = value.get<int64_t>();
    if (n >= range.min && n <= range.max) return n;
  }
  refuse(key, fmt::format("an integer from {} to {}", range.min, range.max));
}

}  // namespace hadal::model
