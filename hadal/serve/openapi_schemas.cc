#include "hadal/serve/openapi_schemas.h"

#include <nlohmann/json.hpp>

namespace hadal::serve {
namespace {

constexpr const char* kSchemas = R"json({
"Object": {"type": "object"},
"Error": {"type": "object", "required": ["error"], "properties": {"error": {
  "type": "object", "required": ["message", "type", "param", "code"], "properties": {
    "message": {"type": "string"}, "type": {"type": "string"}, "param": {"type": ["string", "null"]},
    "code": {"type": "string"}}}}},
"Usage": {"type": "object", "required": ["prompt_tokens", "completion_tokens", "total_tokens"], "properties": {
  "prompt_tokens": {"type": "integer", "minimum": 0}, "completion_tokens": {"type": "integer", "minimum": 0},
  "total_tokens": {"type": "integer", "minimum": 0}, "prompt_cache_hit_tokens": {"type": "integer", "minimum": 0},
  "prompt_cache_miss_tokens": {"type": "integer", "minimum": 0},
  "prompt_tokens_details": {"type": "object"}, "completion_tokens_details": {"type": "object"}}},
"ToolCall": {"type": "object", "required": ["id", "type", "function"], "properties": {
  "id": {"type": "string"}, "type": {"const": "function"}, "function": {
    "type": "object", "required": ["name", "arguments"],
    "properties": {"name": {"type": "string"}, "arguments": {"type": "string"}}}}},
"ChatCompletion": {"type": "object", "required": ["id", "object", "created", "model", "choices", "usage"],
  "properties": {"id": {"type": "string"}, "object": {"const": "chat.completion"}, "created": {"type": "integer"},
  "model": {"type": "string"}, "system_fingerprint": {"type": "string"},
  "usage": {"$ref": "#/components/schemas/Usage"},
  "choices": {"type": "array", "minItems": 1, "items": {"type": "object",
    "required": ["index", "message", "finish_reason"], "properties": {
    "index": {"type": "integer", "minimum": 0}, "finish_reason": {"enum": ["stop", "length", "tool_calls"]},
    "logprobs": {"type": ["object", "null"]},
    "message": {"type": "object", "required": ["role", "content"], "properties": {
      "role": {"const": "assistant"}, "content": {"type": ["string", "null"]}, "reasoning_content": {"type": "string"},
      "tool_calls": {"type": "array", "items": {"$ref": "#/components/schemas/ToolCall"}}}}}}}}},
"Completion": {"type": "object", "required": ["id", "object", "created", "model", "choices", "usage"],
  "properties": {"id": {"type": "string"}, "object": {"const": "text_completion"}, "created": {"type": "integer"},
  "model": {"type": "string"}, "system_fingerprint": {"type": "string"},
  "usage": {"$ref": "#/components/schemas/Usage"},
  "choices": {"type": "array", "minItems": 1, "items": {"type": "object",
    "required": ["index", "text", "finish_reason"], "properties": {
    "index": {"type": "integer", "minimum": 0}, "text": {"type": "string"},
    "finish_reason": {"enum": ["stop", "length"]}, "logprobs": {"type": ["object", "null"]}}}}}},
"Generated": {"type": ["object", "array"], "properties": {
  "text": {"type": "string"}, "output_ids": {"type": "array", "items": {"type": "integer"}},
  "meta_info": {"type": "object"}}},
"Model": {"type": "object", "required": ["id", "object", "created", "owned_by"], "properties": {
  "id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"},
  "owned_by": {"type": "string"}, "max_model_len": {"type": "integer"}, "context_length": {"type": "integer"},
  "context_window": {"type": "integer"}, "meta": {"type": "object"}}},
"ModelList": {"type": "object", "required": ["object", "data"], "properties": {"object": {"const": "list"},
  "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}}},
"Tokens": {"type": "object", "required": ["tokens", "count", "max_model_len"], "properties": {
  "tokens": {"type": "array"}, "count": {"type": ["integer", "array"]}, "max_model_len": {"type": "integer"}}},
"Text": {"type": "object", "required": ["prompt", "text", "content"], "properties": {
  "prompt": {"type": ["string", "array"]}, "text": {"type": ["string", "array"]},
  "content": {"type": ["string", "array"]}}},
"Health": {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}},
"Version": {"type": "object", "required": ["version"], "properties": {"version": {"type": "string"}}},
"Info": {"type": "object", "required": ["version", "model", "auth", "accounts", "defaults"], "properties": {
  "version": {"type": "string"}, "auth": {"type": "boolean"}, "accounts": {"type": "boolean"},
  "model": {"type": "object", "required": ["id", "context_length", "thinking"], "properties": {
    "id": {"type": "string"}, "context_length": {"type": "integer"},
    "thinking": {"enum": ["none", "always", "optional"]}}},
  "defaults": {"type": "object", "required": ["temperature", "top_p", "max_tokens"], "properties": {
    "temperature": {"type": "number"}, "top_p": {"type": "number"}, "max_tokens": {"type": ["integer", "null"]}}}}},
"Status": {"type": "object", "required": ["uptime_s", "running", "waiting", "max_num_seqs", "max_queued", "kv_pages",
  "prefix_cache", "speculation", "tokens", "tok_s", "experts"], "properties": {
  "uptime_s": {"type": "number"}, "running": {"type": "integer"}, "waiting": {"type": "integer"},
  "max_num_seqs": {"type": "integer"}, "max_queued": {"type": "integer"},
  "kv_pages": {"type": "object", "required": ["total", "used", "cached", "page_size"]},
  "prefix_cache": {"type": "object", "required": ["query_tokens", "hit_tokens"]},
  "speculation": {"type": ["object", "null"]},
  "tokens": {"type": "object", "required": ["prompt", "generated"]},
  "tok_s": {"type": "object", "required": ["prompt", "generated"]},
  "experts": {"type": "array", "items": {"type": "object", "required": ["layer", "counts"], "properties": {
    "layer": {"type": "integer"}, "counts": {"type": "array", "items": {"type": "integer", "minimum": 0}}}}}}}
})json";

}  // namespace

json response_schemas() {
  return parse_json(kSchemas, "response schemas", ErrorKind::kInternal);
}

}  // namespace hadal::serve
