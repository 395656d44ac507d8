#include "hadal/text/tokenizer_config.h"

#include <filesystem>

#include <nlohmann/json.hpp>

namespace hadal::text {
namespace {

constexpr int64_t kMaxConfigBytes = 16 << 20;  // V3's has 0.2 MB, most of it added_tokens_decoder

}  // namespace

json read_tokenizer_config(const std::string& folder) {
  const std::string path = folder + "/tokenizer_config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return json::object();
  json config = read_json_file(path, kMaxConfigBytes, ErrorKind::kCheckpoint);
  if (!config.is_object()) {
    fail(ErrorKind::kCheckpoint, "{}\n  expected  an object\n  found     {}", path, config.type_name());
  }
  return config;
}

std::optional<std::string> special_token(const json& config, const std::string& name) {
  const auto token = config.find(name);
  if (token == config.end() || token->is_null()) return std::nullopt;
  const json& content = token->is_object() ? token->value("content", json()) : *token;
  if (!content.is_string()) {
    fail(ErrorKind::kCheckpoint,
         "tokenizer_config.json\n  key       {}\n  expected  a string or an object with `content`", name);
  }
  return content.get<std::string>();
}

}  // namespace hadal::text
