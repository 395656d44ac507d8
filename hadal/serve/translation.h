#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "hadal/core/json.h"

namespace hadal::serve {

// What the protocols that are translated into chat completions have in common. Their fields are checked under the names
// that the client knows; what is left to check in common is checked once it is a chat request.

/// The value at the key; null if there is none, or no object.
const json& at_key(const json& object, const char* key);

/// Throws ApiError 400: "PATH: expected WHAT, found ...", with the path as its param.
[[noreturn]] void refuse_value(const std::string& path, std::string_view expected, const json& found);

/// The text at the key of an object at `path`. Throws ApiError 400 if there is none.
const std::string& text_at(const json& object, const char* key, const std::string& path);

/// The fields that are there and not null, as they are.
void copy_fields(const json& from, json& to, std::initializer_list<const char*> names);

/// One of a chat request's tools. Its parameters, description and strict may be null.
json function_tool(const json& name, const json& description, const json& parameters, const json& strict);

/// A chat request's tool_choice: this function.
json choice_of(const std::string& function);

/// A chat request's response_format.
json schema_format(const json& schema);

}  // namespace hadal::serve
