#include "hadal/model/inspection.h"

#include <filesystem>

#include <fmt/format.h>

#include "hadal/model/model.h"

namespace hadal::model {
namespace {

namespace fs = std::filesystem;

bool has_weight_files(const std::string& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".safetensors") || name == "model.safetensors.index.json") return true;
  }
  return false;
}

void look_at_weights(Inspection& found) {
  try {
    const io::Checkpoint checkpoint = io::Checkpoint::open(found.folder);
    found.size = checkpoint_size(found.config, checkpoint);
    const Model model = bind_model(found.folder);
    found.mtp_modules = model.config.num_nextn_predict_layers;
    found.size = checkpoint_size(model.config, checkpoint);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kCheckpoint && e.kind() != ErrorKind::kConfig) throw;
    found.problem = e.what();
  }
}

std::string attention_words(const ModelConfig& c) {
  const std::string queries =
      c.q_lora_rank ? fmt::format("queries through {}", *c.q_lora_rank) : "queries in one step";
  return fmt::format(
      "latent attention: {} heads of {} + {} (values {}), {}; {} + {} cached per token and layer",
      c.num_attention_heads, c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim, queries, c.kv_lora_rank,
      c.qk_rope_head_dim);
}

std::string router_words(const ModelConfig& c) {
  const std::string groups = fmt::format("from the best {} of {} groups", c.topk_group, c.n_group);
  switch (c.topk_method) {
    case TopkMethod::kGreedy:
      return "by softmax";
    case TopkMethod::kGroupLimitedGreedy:
      return "by softmax, " + groups;
    case TopkMethod::kNoauxTc:
      return "by sigmoid and correction bias, " + groups;
  }
  return "";
}

std::vector<std::string> mlp_words(const ModelConfig& c) {
  int64_t moe_layers = 0;
  for (int64_t l = 0; l < c.num_hidden_layers; ++l) moe_layers += c.is_moe_layer(l) ? 1 : 0;
  std::vector<std::string> lines;
  if (moe_layers < c.num_hidden_layers) {
    const int64_t dense = c.num_hidden_layers - moe_layers;
    lines.push_back(
        fmt::format("{} dense {}, {} wide", dense, dense == 1 ? "layer" : "layers", c.intermediate_size));
  }
  if (moe_layers > 0) {
    lines.push_back(fmt::format("{} {} of {} experts, {} wide: {} a token {}, and {} shared", moe_layers,
                                moe_layers == 1 ? "layer" : "layers", c.n_routed_experts,
                                c.moe_intermediate_size, c.num_experts_per_tok, router_words(c),
                                c.n_shared_experts));
  }
  return lines;
}

std::string rope_words(const ModelConfig& c) {
  std::string rope = fmt::format("RoPE with base {}", c.rope_theta);
  if (!c.rope_scaling) return rope;
  return fmt::format("{}, stretched {}-fold from {} tokens by YaRN", rope, c.rope_scaling->factor,
                     c.rope_scaling->original_max_position_embeddings);
}

std::string quantization_words(const QuantizationConfig& q) {
  switch (q.format) {
    case Format::kI8:
      return "INT8 weights with a scale for each row";
    case Format::kI4:
      return fmt::format("INT4 weights in groups of {} columns, kv_b_proj and head INT8", q.group_size);
    default:
      return fmt::format("FP8 weights in blocks of {} x {}{}", q.block_rows, q.block_cols,
                         q.ue8m0 ? ", scales that are powers of two (ue8m0)" : "");
  }
}

}  // namespace

Inspection inspect(const std::string& path) {
  Inspection found;
  found.config = load_config(path);
  found.size = implied_size(found.config);
  found.mtp_modules = found.config.num_nextn_predict_layers;
  if (!fs::is_directory(path)) return found;
  found.folder = path;
  found.has_weights = has_weight_files(path);
  if (found.has_weights) look_at_weights(found);
  return found;
}

std::vector<std::string> describe(const ModelConfig& config) {
  std::vector<std::string> lines{
      fmt::format("{}: {} layers, {} wide, vocabulary of {}{}", config.model_type, config.num_hidden_layers,
                  config.hidden_size, config.vocab_size,
                  config.tie_word_embeddings ? ", head tied to the embedding" : "")};
  lines.push_back(attention_words(config));
  for (std::string& line : mlp_words(config)) lines.push_back(std::move(line));
  lines.push_back(rope_words(config));
  if (config.quantization) lines.push_back(quantization_words(*config.quantization));
  return lines;
}

std::string format_count(int64_t count) {
  constexpr const char* kUnits[] = {"", "K", "M", "B", "T"};
  auto value = static_cast<double>(count);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000.0;
    ++unit;
  }
  if (unit == 0) return fmt::format("{}", count);
  const int decimals = value >= 19.95 ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", value, decimals, kUnits[unit]);
}

}  // namespace hadal::model
