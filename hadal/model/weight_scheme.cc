#include "hadal/model/weight_scheme.h"

#include <array>

#include "hadal/core/error.h"
#include "hadal/core/round.h"
#include "hadal/model/model_size.h"

namespace hadal::model {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"bf16", "fp8", "int8", "int4"};
constexpr int64_t kI4Group = 64;

}  // namespace

std::string_view to_string(WeightScheme scheme) {
  return kNames[static_cast<size_t>(scheme)];
}

WeightScheme parse_weight_scheme(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<WeightScheme>(i);
  }
  fail(ErrorKind::kUsage, "format\n  expected  bf16, fp8, int8 or int4\n  found     {}", name);
}

std::optional<QuantizationConfig> quantization_of(WeightScheme scheme) {
  QuantizationConfig quantization;
  switch (scheme) {
    case WeightScheme::kBF16:
      return std::nullopt;
    case WeightScheme::kFP8:
      break;
    case WeightScheme::kInt8:
      quantization.format = Format::kI8;
      break;
    case WeightScheme::kInt4:
      quantization.format = Format::kI4;
      quantization.group_size = kI4Group;
      break;
  }
  return quantization;
}

WeightScheme scheme_of(const std::optional<QuantizationConfig>& quantization) {
  if (!quantization) return WeightScheme::kBF16;
  if (quantization->format == Format::kI4) return WeightScheme::kInt4;
  return quantization->format == Format::kI8 ? WeightScheme::kInt8 : WeightScheme::kFP8;
}

Weight weight_shape(const ParamSpec& spec, WeightScheme scheme) {
  HADAL_CHECK(spec.shape.size() == 2, "{} is no map", spec.name);
  const auto quantization = quantization_of(scheme);
  Weight w;
  w.format = quantization ? stored_format(*quantization, spec) : Format::kBF16;
  w.out_features = spec.shape[0];
  w.in_features = spec.shape[1];
  if (w.format == Format::kF8E4M3) {
    w.block_rows = quantization->block_rows;
    w.block_cols = quantization->block_cols;
  } else if (w.is_integer()) {
    w.block_rows = 1;
    w.block_cols = w.in_features;
  }
  if (w.format == Format::kI4) w.group = kI4Group;
  return w;
}

Weights weight_shapes(const ModelConfig& config, WeightScheme scheme) {
  Weights weights;
  for_each_param(config, weights, [&](const ParamSpec& spec, Weight* map, VectorParam* vector) {
    if (map != nullptr) {
      *map = weight_shape(spec, scheme);
    } else {
      vector->values.resize(static_cast<size_t>(spec.shape[0]));
    }
  });
  if (config.tie_word_embeddings) weights.lm_head = weights.embed_tokens;
  return weights;
}

int64_t stored_bytes(const Weight& weight) {
  int64_t bytes = weight.bytes();
  if (weight.block_rows > 0) {
    bytes += ceil_div(weight.out_features, weight.block_rows) *
             ceil_div(weight.in_features, weight.block_cols) * static_cast<int64_t>(sizeof(float));
  }
  if (weight.group > 0) bytes += weight.out_features * ceil_div(weight.in_features, weight.group);
  return bytes;
}

}  // namespace hadal::model
