#include "hadal/serve/fields.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

// 5.0 is an integer, as JSON has only numbers; but one of 64 bits.
bool is_integer(const json& value) {
  if (!value.is_number_float()) return value.is_number_integer();
  constexpr double kTwo63 = 9223372036854775808.0;
  const auto number = value.get<double>();
  return std::trunc(number) == number && std::abs(number) < kTwo63;
}

bool has_type(const json& value, FieldType type) {
  switch (type) {
    case FieldType::kBoolean:
      return value.is_boolean();
    case FieldType::kInteger:
      return is_integer(value);
    case FieldType::kNumber:
      return value.is_number();
    case FieldType::kString:
      return value.is_string();
    case FieldType::kArray:
      return value.is_array();
    case FieldType::kObject:
      return value.is_object();
    case FieldType::kAny:
      return true;
  }
  return false;
}

const char* name_of(FieldType type) {
  constexpr const char* kNames[] = {"true or false", "an integer", "a number", "a string",
                                    "a list",        "an object",  "anything"};
  return kNames[static_cast<size_t>(type)];
}

// What the range is about.
double size_of(const json& value) {
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return static_cast<double>(value.get_ref<const std::string&>().size());
  return static_cast<double>(value.size());
}

}  // namespace

FieldReader::FieldReader(const json& object, std::span<const FieldRule> rules, std::string where)
    : object_(object), rules_(rules), where_(std::move(where)) {
  for (const FieldRule& rule : rules_) {
    const auto found = object_.find(rule.name);
    if (found != object_.end() && !found->is_null()) check(rule, *found);
  }
}

void FieldReader::check(const FieldRule& rule, const json& value) const {
  if (!has_type(value, rule.type))
    refuse(400, rule.name, fmt::format("expected {}, found {}", name_of(rule.type), value.type_name()));
  if (rule.type == FieldType::kAny || rule.type == FieldType::kBoolean || rule.type == FieldType::kObject)
    return;
  const double size = size_of(value);
  if (size >= rule.min && size <= rule.max) return;
  const char* what = value.is_number() ? "" : value.is_string() ? " bytes" : " entries";
  if (std::isinf(rule.max))
    refuse(422, rule.name, fmt::format("expected at least {}{}, found {}", rule.min, what, size));
  if (std::isinf(rule.min) || !value.is_number())
    refuse(422, rule.name, fmt::format("expected at most {}{}, found {}", rule.max, what, size));
  refuse(422, rule.name, fmt::format("expected {} to {}{}, found {}", rule.min, rule.max, what, size));
}

void FieldReader::refuse(int status, std::string_view name, const std::string& message) const {
  const std::string full = where_ + std::string(name);
  throw ApiError(status, fmt::format("{}: {}", full, message), full);
}

const json* FieldReader::find(std::string_view name) const {
  HADAL_DCHECK(std::ranges::any_of(rules_, [&](const FieldRule& rule) { return rule.name == name; }),
               "no rule for {}", name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> FieldReader::boolean(std::string_view name) const {
  const json* value = find(name);
  return value ? std::optional(value->get<bool>()) : std::nullopt;
}

std::optional<int64_t> FieldReader::integer(std::string_view name) const {
  const json* value = find(name);
  if (!value) return std::nullopt;
  return value->is_number_float() ? static_cast<int64_t>(value->get<double>()) : value->get<int64_t>();
}

std::optional<double> FieldReader::number(std::string_view name) const {
  const json* value = find(name);
  return value ? std::optional(value->get<double>()) : std::nullopt;
}

std::optional<std::string> FieldReader::string(std::string_view name) const {
  const json* value = find(name);
  return value ? std::optional(value->get<std::string>()) : std::nullopt;
}

std::vector<std::string> FieldReader::strings(std::string_view name) const {
  const json* value = find(name);
  if (!value) return {};
  std::vector<std::string> list;
  for (const json& entry : *value) {
    if (!entry.is_string())
      refuse(400, name, fmt::format("expected a list of strings, found {}", entry.type_name()));
    list.push_back(entry.get<std::string>());
  }
  return list;
}

std::vector<int64_t> FieldReader::integers(std::string_view name, int64_t min, int64_t max) const {
  const json* value = find(name);
  if (!value) return {};
  std::vector<int64_t> list;
  for (const json& entry : *value) {
    if (!entry.is_number_integer())
      refuse(400, name, fmt::format("expected a list of integers, found {}", entry.type_name()));
    const bool huge = entry.is_number_unsigned() && entry.get<uint64_t>() > static_cast<uint64_t>(max);
    if (huge || entry.get<int64_t>() < min || entry.get<int64_t>() > max)
      refuse(422, name, fmt::format("expected integers from {} to {}, found {}", min, max, entry.dump()));
    list.push_back(entry.get<int64_t>());
  }
  return list;
}

json parse_body(const std::string& body) {
  json value;
  try {
    value = parse_json(body, "The request's body is not valid JSON", ErrorKind::kRequest);
  } catch (const Error& e) {
    std::string message = e.what();  // its place is enough: what stands there may be a prompt
    message.resize(std::min(message.find(": last read: "), message.size()));
    throw ApiError(400, message);
  }
  if (!value.is_object())
    throw ApiError(400, fmt::format("The request's body: expected an object, found {}", value.type_name()));
  return value;
}

}  // namespace hadal::serve
