#include "hadal/serve/translation.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/api_error.h"

namespace hadal::serve {

const json& at_key(const json& object, const char* key) {
  static const json null;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? null : *found;
}

void refuse_value(const std::string& path, std::string_view expected, const json& found) {
  constexpr size_t kShown = 64;
  std::string shown = found.is_null() ? "nothing" : found.type_name();
  if (found.is_string() && found.get_ref<const std::string&>().size() <= kShown)
    shown = fmt::format("\"{}\"", found.get_ref<const std::string&>());
  throw ApiError(400, fmt::format("{}: expected {}, found {}", path, expected, shown), path);
}

const std::string& text_at(const json& object, const char* key, const std::string& path) {
  const json& value = at_key(object, key);
  if (!value.is_string()) refuse_value(fmt::format("{}.{}", path, key), "a string", value);
  return value.get_ref<const std::string&>();
}

void copy_fields(const json& from, json& to, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (const json& value = at_key(from, name); !value.is_null()) to[name] = value;
  }
}

json function_tool(const json& name, const json& description, const json& parameters, const json& strict) {
  json function{{"name", name}};
  if (!description.is_null()) function["description"] = description;
  if (!parameters.is_null()) function["parameters"] = parameters;
  if (!strict.is_null()) function["strict"] = strict;
  return {{"type", "function"}, {"function", std::move(function)}};
}

json choice_of(const std::string& function) {
  return {{"type", "function"}, {"function", {{"name", function}}}};
}

json schema_format(const json& schema) {
  return {{"type", "json_schema"}, {"json_schema", {{"name", "answer"}, {"schema", schema}}}};
}

}  // namespace hadal::serve
