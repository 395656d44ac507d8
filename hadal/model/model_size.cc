#include "hadal/model/model_size.h"

#include <algorithm>
#include <map>

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

std::vector<FormatBytes> largest_first(const std::map<DType, int64_t>& bytes) {
  std::vector<FormatBytes> list;
  list.reserve(bytes.size());
  for (const auto& [dtype, count] : bytes) list.push_back({dtype, count});
  std::ranges::stable_sort(list, std::greater<>(), &FormatBytes::bytes);
  return list;
}

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

int64_t ModelSize::total_bytes() const {
  int64_t total = 0;
  for (const FormatBytes& format : bytes_by_format) total += format.bytes;
  return total;
}

ModelSize implied_size(const ModelConfig& config) {
  ModelSize size = count_params(config);
  std::map<DType, int64_t> bytes;
  for_each_param(config, [&](const ParamSpec& spec) {
    if (spec.duplicate) return;
    const bool fp8 = config.quantization && spec.kind == ParamKind::kLinear;
    const DType dtype = fp8 ? DType::kF8E4M3 : DType::kBF16;
    bytes[dtype] += count_of(spec) * io::size_of(dtype);
    if (fp8) {
      bytes[DType::kF32] += ceil_div(spec.shape[0], config.quantization->block_rows) *
                            ceil_div(spec.shape[1], config.quantization->block_cols) *
                            io::size_of(DType::kF32);
    }
  });
  size.bytes_by_format = largest_first(bytes);
  return size;
}

ModelSize checkpoint_size(const ModelConfig& config, const io::Checkpoint& checkpoint) {
  ModelSize size = count_params(config);
  std::map<DType, int64_t> bytes;
  for (const io::TensorEntry* tensor : checkpoint.tensors()) {
    bytes[tensor->dtype] += static_cast<int64_t>(tensor->data.size());
  }
  size.bytes_by_format = largest_first(bytes);
  return size;
}

}  // namespace hadal::model
