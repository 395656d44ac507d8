#include "hadal/model/model_size.h"

#include <algorithm>
#include <map>

#include "hadal/core/round.h"
#include "hadal/model/param_spec.h"

namespace hadal::model {
namespace {

using io::DType;

int64_t count_of(const ParamSpec& spec) {
  int64_t count = 1;
  for (const int64_t extent : spec.shape) count *= extent;
  return count;
}

// A tied embedding table is the head as well, and the head multiplies.
bool is_lookup_only(const ModelConfig& config, const ParamSpec& spec) {
  return spec.name == "model.embed_tokens.weight" && !config.tie_word_embeddings;
}

ModelSize count_params(const ModelConfig& config) {
  ModelSize size;
  for_each_param(config, [&](const ParamSpec& spec) {
    const int64_t count = count_of(spec);
    if (spec.mtp) {
      size.mtp_params += spec.duplicate ? 0 : count;
      return;
    }
    size.total_params += count;
    // Experts are all alike: counting the first num_experts_per_tok counts any.
    if (spec.expert < config.num_experts_per_tok && !is_lookup_only(config, spec))
      size.active_params += count;
  });
  size.kv_bytes_per_token = config.latent_width() * config.num_hidden_layers * io::size_of(DType::kBF16);
  return size;
}

std::vector<FormatBytes> largest_first(const std::map<std::string, int64_t>& bytes) {
  std::vector<FormatBytes> list;
  list.reserve(bytes.size());
  for (const auto& [format, count] : bytes) list.push_back({format, count});
  std::ranges::stable_sort(list, std::greater<>(), &FormatBytes::bytes);
  return list;
}

// Bytes of a quantised map's scales and group codes.
void add_scales(const QuantizationConfig& q, const ParamSpec& spec, Format format,
                std::map<std::string, int64_t>& bytes) {
  if (spec.kind == ParamKind::kVector) return;  // has one axis and is never quantised
  const int64_t rows = spec.shape[0], cols = spec.shape[1], scale = io::size_of(DType::kF32);
  if (format == Format::kF8E4M3) {
    bytes["F32"] += ceil_div(rows, q.block_rows) * ceil_div(cols, q.block_cols) * scale;
  }
  if (format == Format::kI8 || format == Format::kI4) bytes["F32"] += rows * scale;
  if (format == Format::kI4) bytes["U8"] += rows * ceil_div(cols, q.group_size);
}

}  // namespace

int64_t ModelSize::total_bytes() const {
  int64_t total = 0;
  for (const FormatBytes& format : bytes_by_format) total += format.bytes;
  return total;
}

double ModelSize::bits_per_param() const {
  return 8.0 * static_cast<double>(total_bytes()) / static_cast<double>(total_params + mtp_params);
}

Format stored_format(const QuantizationConfig& quantization, const ParamSpec& spec) {
  const Format format = quantization.format;
  if (spec.kind == ParamKind::kLinear) {
    if (format != Format::kI4) return format;
    // Every token pays for 4 bits in attention, shared experts and dense layers, and with routed experts they are few bytes
    // of the file; of these the query's lose least (docs/log.md). Absorbed attention multiplies by kv_b_proj from both
    // sides, where a group's factors would serve only one.
    const bool is_query = spec.name.ends_with(".q_proj.weight") || spec.name.ends_with(".q_b_proj.weight");
    return spec.expert >= 0 || is_query ? Format::kI4 : Format::kI8;
  }
  const bool is_head = spec.kind == ParamKind::kHead && !spec.name.ends_with(".eh_proj.weight");
  return is_head && format != Format::kF8E4M3 ? Format::kI8 : Format::kBF16;
}

ModelSize implied_size(const ModelConfig& config) {
  ModelSize size = count_params(config);
  std::map<std::string, int64_t> bytes;
  for_each_param(config, [&](const ParamSpec& spec) {
    if (spec.duplicate) return;
    const Format format = config.quantization ? stored_format(*config.quantization, spec) : Format::kBF16;
    const int64_t cols = spec.shape.back();
    bytes[std::string(to_string(format))] += count_of(spec) / cols * bytes_per_row(format, cols);
    if (config.quantization) add_scales(*config.quantization, spec, format, bytes);
  });
  size.bytes_by_format = largest_first(bytes);
  return size;
}

ModelSize checkpoint_size(const ModelConfig& config, const io::Checkpoint& checkpoint) {
  ModelSize size = count_params(config);
  std::map<std::string, int64_t> bytes;
  for (const io::TensorEntry* tensor : checkpoint.tensors()) {
    const bool is_int4 = tensor->dtype == DType::kU8 && tensor->name.ends_with(".weight");
    const std::string_view format = is_int4 ? to_string(Format::kI4) : io::to_string(tensor->dtype);
    bytes[std::string(format)] += static_cast<int64_t>(tensor->data.size());
  }
  size.bytes_by_format = largest_first(bytes);
  return size;
}

}  // namespace hadal::model
