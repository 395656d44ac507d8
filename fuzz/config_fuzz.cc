#include <algorithm>
#include <cmath>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz_main.h"
#include <nlohmann/json.hpp>

#include "hadal/core/json.h"
#include "hadal/model/config.h"
#include "hadal/model/generation_config.h"

namespace {

using hadal::ErrorKind;
using hadal::json;
using hadal::fuzz::Random;
using hadal::model::GenerationConfig;
using hadal::model::ModelConfig;
using hadal::model::TopkMethod;

constexpr const char* kConfigs = "tests/data/configs";

void promise(bool holds, const char* what) {
  if (!holds) throw std::logic_error(std::string("an accepted config breaks a promise: ") + what);
}

bool is_in(int64_t value, int64_t min, int64_t max) {
  return value >= min && value <= max;
}

// What the code that computes with a config may rely on.
void check_promises(const ModelConfig& c) {
  for (const int64_t width : {c.hidden_size, c.intermediate_size, c.moe_intermediate_size}) {
    promise(is_in(width, 1, 1 << 18), "widths");
  }
  promise(is_in(c.vocab_size, 1, 1 << 24), "vocab_size");
  promise(is_in(c.num_hidden_layers, 1, 1024) && is_in(c.num_nextn_predict_layers, 0, 64), "layers");
  promise(is_in(c.num_attention_heads, 1, 4096), "heads");
  promise(is_in(c.kv_lora_rank, 1, 65536) && is_in(c.q_lora_rank.value_or(1), 1, 65536), "ranks");
  promise(is_in(c.qk_head_dim(), 2, 8192) && is_in(c.v_head_dim, 1, 4096), "head widths");
  promise(c.qk_rope_head_dim > 0 && c.qk_rope_head_dim % 2 == 0, "pairs to turn");
  promise(std::isfinite(c.softmax_scale()) && c.softmax_scale() > 0.0, "softmax_scale");
  promise(std::isfinite(c.rope_theta) && c.rope_theta > 1.0, "rope_theta");
  promise(c.rms_norm_eps > 0.0 && c.rms_norm_eps <= 1.0, "rms_norm_eps");
  promise(is_in(c.bos_token_id.value_or(0), 0, c.vocab_size - 1), "bos_token_id");
  for (const int64_t id : c.eos_token_ids) promise(is_in(id, 0, c.vocab_size - 1), "eos_token_id");
  if (c.rope_scaling) promise(c.rope_scaling->factor >= 1.0 && c.rope_scaling->beta_slow > 0.0, "YaRN");
  if (c.quantization) {
    promise(c.quantization->block_rows > 0 && c.quantization->block_cols > 0, "blocks");
    const int64_t group = c.quantization->group_size;
    const bool in_groups = c.quantization->format == hadal::Format::kI4;
    promise(in_groups ? group == 32 || group == 64 || group == 128 : group == 0, "group_size");
  }
  if (c.n_routed_experts == 0) return;
  promise(c.n_routed_experts * (c.num_hidden_layers + c.num_nextn_predict_layers) <= 1 << 16, "experts");
  promise(c.n_routed_experts % c.n_group == 0 && is_in(c.topk_group, 1, c.n_group), "groups");
  const int64_t group = c.n_routed_experts / c.n_group;
  promise(c.topk_method != TopkMethod::kNoauxTc || c.n_group == 1 || group >= 2,
          "two experts to rank a group by");
  const bool grouped = c.topk_method != TopkMethod::kGreedy;
  promise(is_in(c.num_experts_per_tok, 1, grouped ? group * c.topk_group : c.n_routed_experts),
          "experts to choose from");
}

void check_promises(const GenerationConfig& g, const ModelConfig& c) {
  promise(g.temperature >= 0.0 && std::isfinite(g.temperature), "temperature");
  promise(g.top_p > 0.0 && g.top_p <= 1.0, "top_p");
  promise(g.top_k >= 0 && g.repetition_penalty > 0.0, "top_k, repetition_penalty");
  for (const int64_t id : g.eos_token_ids) promise(is_in(id, 0, c.vocab_size - 1), "eos_token_id");
}

// A file with a vocab_size is read as a config.json, any file as a generation_config.json: transformers writes the keys
// of the latter into both.
void run(std::string_view text) {
  const json file = hadal::parse_json(text, "config.json", ErrorKind::kConfig);
  ModelConfig config;
  config.vocab_size = 129280;
  check_promises(hadal::model::parse_generation_config(file, "config.json", config), config);
  if (file.contains("vocab_size")) check_promises(hadal::model::parse_config(file, "config.json"));
}

std::vector<std::string> read_configs() {
  std::vector<std::string> paths, seeds;
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs))
    paths.push_back(entry.path().string());
  std::ranges::sort(paths);
  for (const std::string& path : paths)
    seeds.push_back(hadal::read_text_file(path, 1 << 20, ErrorKind::kConfig));
  seeds.emplace_back(
      R"({"_from_model_config": true, "bos_token_id": 0, "eos_token_id": [1, 2], "do_sample": true,
      "temperature": 0.6, "top_p": 0.95, "top_k": 50, "repetition_penalty": 1.05, "transformers_version": "4.39.3"})");
  json quantised = json::parse(seeds.front());
  quantised["quantization_config"] = json::parse(
      R"({"quant_method": "hadal", "format": "int4", "group_size": 64, "weight_block_size": [128, 128]})");
  seeds.push_back(quantised.dump());
  return seeds;
}

// All values in an object and in the objects inside it.
void collect(json& value, std::vector<json*>& places) {
  for (auto& element : value.items()) {
    places.push_back(&element.value());
    if (element.value().is_structured()) collect(element.value(), places);
  }
}

json any_value(Random& random, const std::vector<json*>& places) {
  switch (random.below(4)) {
    case 0:
      return json::parse(random.pick(hadal::fuzz::boundary_numbers()), nullptr, false);
    case 1:
      return json::parse(
          random.pick<std::string>({"null", "true", "false", "\"\"", "\"yarn\"", "[]", "{}", "[1, 2]"}));
    case 2:
      return *random.pick(places);
    default:
      return random.below(1000);
  }
}

// A release with one to three values that are of another kind, out of range or at odds with each other.
std::string make(Random& random, const std::vector<json>& releases) {
  json config = random.pick(releases);
  for (size_t n = 1 + random.below(3); n > 0; --n) {
    std::vector<json*> places;
    collect(config, places);
    const json value = any_value(random, places);
    *random.pick(places) = value.is_discarded() ? json(nullptr) : value;
    if (random.one_in(4))
      config.erase(std::next(config.begin(), static_cast<int>(random.below(config.size()))));
  }
  return config.dump();
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> seeds = read_configs();
  std::vector<json> releases;
  releases.reserve(seeds.size());
  for (const std::string& seed : seeds) releases.push_back(json::parse(seed));
  return hadal::fuzz::fuzz_main(argc, argv,
                                {.name = "fuzz_config",
                                 .seeds = seeds,
                                 .dictionary = hadal::fuzz::json_words({"\"n_routed_experts\": null",
                                                                        "\"n_group\": 1,",
                                                                        "\"rope_scaling\": null,",
                                                                        "\"rope_parameters\": {",
                                                                        "\"rope_type\": \"default\"",
                                                                        "\"index_topk\": 2048,",
                                                                        "\"topk_method\": \"greedy\",",
                                                                        "\"gready\"",
                                                                        "\"scale_fmt\": \"ue8m0\",",
                                                                        "\"quant_method\": \"hadal\",",
                                                                        "\"format\": \"int8\"",
                                                                        "\"group_size\": 32",
                                                                        "\"model_type\": \"deepseek_v2\",",
                                                                        "\"softmax\"",
                                                                        "\"sigmoid\"",
                                                                        "\"",
                                                                        "1e999",
                                                                        "-0.0",
                                                                        "NaN",
                                                                        "\\u0000",
                                                                        "\xef\xbb\xbf"}),
                                 .run = run,
                                 .make = [&](Random& random) { return make(random, releases); }});
}
