// GET /openapi.json: what this server takes and gives, made of the tables that it works by.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/endpoint_rules.h"
#include "hadal/serve/openapi_schemas.h"
#include "hadal/serve/routes.h"

namespace hadal::serve {
namespace {

using Rules = std::span<const FieldRule> (*)();

/// What a handler does, beside what the tables of routes and fields say.
struct Operation {
  Handler handler;
  const char *summary, *response;  // response: a schema of openapi_schemas.h; "": no JSON
  Rules rules = nullptr;           // of its body
  const char* required = "";       // the one field that must be there; "": none, or one of several
  bool streams = false;
};

constexpr Operation kOperations[] = {
    {chat_completions, "The next message of a conversation", "ChatCompletion", chat_rules, "messages", true},
    {completions, "What comes after a prompt", "Completion", completion_rules, "prompt", true},
    {sglang_generate, "SGLang's own API", "Generated", sglang_rules, "", true},
    {list_models, "The models", "ModelList"},
    {get_model, "A model", "Model"},
    {tokenize, "Text as tokens", "Tokens", tokenize_rules},
    {detokenize, "Tokens as text", "Text", detokenize_rules, "tokens"},
    {tokenizer_info, "The tokenizer's configuration", "Object"},
    {model_info, "SGLang's description of the model", "Object"},
    {server_info, "SGLang's description of the server", "Object"},
    {flush_cache, "Forget the prompts that the cache keeps", ""},
    {health, "200 when the server works", "Health"},
    {ready, "200 when the server takes requests", "Health"},
    {version, "The program's version", "Version"},
    {metrics, "Prometheus' text format", ""},
    {openapi, "This document", "Object"},
    {api_info, "What a page has to know first", "Info"},
    {api_status, "The server's numbers", "Status"},
    {messages, "Anthropic's messages", "Object", message_rules, "messages", true},
    {count_message_tokens, "The tokens of such a conversation", "Object", message_rules, "messages"},
    {responses, "OpenAI's responses", "Object", responses_rules, "", true},
    {get_response, "A stored response", "Object"},
    {delete_response, "Forget a stored response", "Object"},
    {user_balance, "What the account has left", "Object"},
    {platform_me, "The account", "Object"},
    {platform_usage, "What the account, or all of them, used by day", "Object"},
    {platform_prices, "What a million tokens cost", "Object"},
    {platform_keys, "All accounts (administrators)", "Object"},
    {platform_create_key, "A new account and its key (administrators)", "Object", key_rules},
    {platform_update_key, "Other limits for a key; what is absent stays (administrators)", "Object",
     key_change_rules},
    {platform_revoke_key, "End a key for good (administrators)", "Object"},
    {platform_rotate_key, "A new key in place of an old one (administrators)", "Object"},
};

const Operation* find_operation(Handler handler) {
  const auto found = std::ranges::find(kOperations, handler, &Operation::handler);
  return found == std::end(kOperations) ? nullptr : found;
}

// Null is as absent everywhere, so it is a type that each field has.
json type_of(FieldType type) {
  switch (type) {
    case FieldType::kBoolean:
      return {"boolean", "null"};
    case FieldType::kInteger:
      return {"integer", "null"};
    case FieldType::kNumber:
      return {"number", "null"};
    case FieldType::kString:
      return {"string", "null"};
    case FieldType::kArray:
      return {"array", "null"};
    case FieldType::kObject:
      return {"object", "null"};
    case FieldType::kAny:
      break;
  }
  return nullptr;
}

// A whole number without a fraction, as people write it.
json limit(double value) {
  return std::abs(value) < 1e15 && std::trunc(value) == value ? json(static_cast<int64_t>(value))
                                                              : json(value);
}

json schema_of(const FieldRule& rule, bool required) {
  json schema = json::object();
  if (const json type = type_of(rule.type); !type.is_null()) schema["type"] = required ? type[0] : type;
  const char* lowest = nullptr;
  const char* highest = nullptr;
  if (rule.type == FieldType::kInteger || rule.type == FieldType::kNumber) {
    lowest = "minimum";
    highest = "maximum";
  } else if (rule.type == FieldType::kString) {
    highest = "maxLength";
  } else if (rule.type == FieldType::kArray) {
    lowest = "minItems";
    highest = "maxItems";
  }
  if (lowest && std::isfinite(rule.min)) schema[lowest] = limit(rule.min);
  if (highest && std::isfinite(rule.max)) schema[highest] = limit(rule.max);
  if (*rule.about) schema["description"] = rule.about;
  return schema;
}

json body_of(const Operation& operation) {
  json schema{{"type", "object"}, {"properties", json::object()}};
  for (const FieldRule& rule : operation.rules())
    schema["properties"][rule.name] = schema_of(rule, std::string_view(rule.name) == operation.required);
  if (*operation.required) schema["required"] = json::array({operation.required});
  return {{"required", true}, {"content", {{"application/json", {{"schema", schema}}}}}};
}

json reference(std::string_view schema) {
  return {{"$ref", fmt::format("#/components/schemas/{}", schema)}};
}

json error_response(const char* about) {
  return {{"description", about}, {"content", {{"application/json", {{"schema", reference("Error")}}}}}};
}

json success(const Operation& operation) {
  json content = json::object();
  if (*operation.response) {
    content["application/json"] = {{"schema", reference(operation.response)}};
  } else {
    content["text/plain"] = {{"schema", {{"type", "string"}}}};
  }
  if (operation.streams) content["text/event-stream"] = {{"schema", {{"type", "string"}}}};
  return {{"description", operation.summary}, {"content", content}};
}

bool has_name(const Route& route) {
  return route.path.find('*') != std::string_view::npos;
}

bool is_platform(std::string_view path) {
  return path.starts_with("/api/platform/");
}

json responses_of(const Route& route, const Operation& operation, const ServeOptions& options) {
  json responses{{"200", success(operation)}};
  if (has_name(route)) {
    responses["400"] = error_response("The path has control characters");
    responses["404"] = error_response("There is none of this name");
  }
  if (is_platform(route.path)) {
    responses["404"] = error_response("The server has no accounts, or there is no such account");
    responses["409"] = error_response("The account is not in a state for that");
    responses["422"] = error_response("A value is out of range");
  }
  if (operation.streams && !options.accounts_db.empty())
    responses["402"] = error_response("The balance does not suffice");
  if (operation.rules) {
    responses["400"] = error_response("The body is no JSON, or a field has another type");
    responses["413"] = error_response("The body is too large");
    responses["422"] = error_response("A value is out of range");
  }
  if (operation.streams) {
    responses["404"] = error_response("No such model (--strict-model-name)");
    responses["429"] = error_response("Too many requests wait");
  }
  if (operation.streams && options.request_timeout.count() > 0.0)
    responses["504"] = error_response("It took longer than --request-timeout");
  if (route.handler == metrics) responses["404"] = error_response("--disable-metrics");
  if (!is_open(route, options) && options.has_keys())
    responses["401"] = error_response("No key, or a wrong one");
  responses["403"] = error_response("From a page of another site");
  responses["431"] = error_response("The header is too large");
  responses["503"] = route.handler == health
                         ? json{{"description", "Loading, or about to end"},
                                {"content", {{"application/json", {{"schema", reference("Object")}}}}}}
                         : error_response("Loading, or about to end; Retry-After says when to ask again");
  if (route.handler != messages && route.handler != count_message_tokens) return responses;
  for (auto& [status, response] : responses.items()) {  // Anthropic's errors have another form
    if (status != "200") response["content"]["application/json"]["schema"] = reference("Object");
  }
  return responses;
}

json operation_of(const Route& route, const ServeOptions& options) {
  const Operation* operation = find_operation(route.handler);
  if (!operation) return nullptr;
  json description{{"summary", operation->summary}, {"responses", responses_of(route, *operation, options)}};
  if (operation->rules) description["requestBody"] = body_of(*operation);
  if (has_name(route)) {
    description["parameters"] = json::array({{{"name", "name"},
                                              {"in", "path"},
                                              {"required", true},
                                              {"schema", {{"type", "string"}, {"minLength", 1}}}}});
  }
  description["security"] = json::array();
  if (!is_open(route, options) && options.has_keys())
    description["security"] = {{{"bearer", json::array()}}, {{"key", json::array()}}};
  return description;
}

}  // namespace

json openapi_document(const Service& service) {
  json paths = json::object();
  for (const Route& route : routes()) {
    const json operation = operation_of(route, service.options);
    if (operation.is_null()) continue;
    std::string path(route.path);
    if (const size_t star = path.find('*'); star != std::string::npos) path.replace(star, 1, "{name}");
    std::string method(route.method);
    std::ranges::transform(method, method.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    paths[path][method] = operation;
  }
  const json schemes{{"bearer", {{"type", "http"}, {"scheme", "bearer"}}},
                     {"key", {{"type", "apiKey"}, {"in", "header"}, {"name", "x-api-key"}}}};
  return {{"openapi", "3.1.0"},
          {"info",
           {{"title", "hadal"},
            {"version", service.version},
            {"description",
             "Fields that are not listed are ignored; null is as absent, unless a field says otherwise."}}},
          {"paths", paths},
          {"components", {{"schemas", response_schemas()}, {"securitySchemes", schemes}}}};
}

asio::awaitable<void> openapi(Exchange& http, Service& service) {
  const json document = openapi_document(service);
  co_await http.send_json(document);
}

}  // namespace hadal::serve
