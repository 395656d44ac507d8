#include "hadal/model/generation_config.h"

#include <filesystem>
#include <limits>

#include <nlohmann/json.hpp>

#include "hadal/core/log.h"
#include "hadal/model/json_fields.h"

namespace hadal::model {
namespace {

constexpr int64_t kMaxBytes = 1 << 20;

}  // namespace

GenerationConfig parse_generation_config(const json& generation, const std::string& where,
                                         const ModelConfig& config) {
  JsonFields in(generation, where);
  GenerationConfig g;
  if (in.find_value("temperature")) g.temperature = in.number("temperature", {0.0, 100.0});
  if (in.find_value("top_p")) g.top_p = in.number("top_p", {0.0, 1.0, true});
  g.top_k = in.optional_integer("top_k", {0, std::numeric_limits<int32_t>::max()}).value_or(0);
  if (in.find_value("repetition_penalty"))
    g.repetition_penalty = in.number("repetition_penalty", {0.0, 100.0, true});
  if (in.find_value("do_sample") && !in.boolean("do_sample")) g.temperature = 0.0;
  g.eos_token_ids = in.integer_or_list("eos_token_id", {0, config.vocab_size - 1});
  if (g.eos_token_ids.empty()) g.eos_token_ids = config.eos_token_ids;
  for (const std::string& key : in.unread()) {
    log_line(LogLevel::kDebug, fmt::format("{}: {} is not used", where, key));
  }
  return g;
}

GenerationConfig load_generation_config(const std::string& folder, const ModelConfig& config) {
  const std::filesystem::path file = std::filesystem::path(folder) / "generation_config.json";
  if (!std::filesystem::exists(file)) {
    GenerationConfig g;
    g.eos_token_ids = config.eos_token_ids;
    return g;
  }
  return parse_generation_config(read_json_file(file.string(), kMaxBytes, ErrorKind::kConfig), file.string(),
                                 config);
}

}  // namespace hadal::model
