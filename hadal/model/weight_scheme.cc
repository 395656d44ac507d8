#include "hadal/model/weight_scheme.h"

#include <array>

#include "hadal/core/error.h"

namespace hadal::model {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"bf16", "fp8", "int8", "int4"};
constexpr int64_t kF8Block = 128, kI4Group = 64;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// The absorbed form multiplies with kv_b_proj from both sides, and the head picks the token: 8 bits for these two.
Format format_of(const ParamSpec& spec, WeightScheme scheme) {
  const bool linear = spec.kind == ParamKind::kLinear, head = spec.name == "lm_head.weight";
  switch (scheme) {
    case WeightScheme::kBF16:
      return Format::kBF16;
    case WeightScheme::kFP8:
      return linear ? Format::kF8E4M3 : Format::kBF16;
    case WeightScheme::kInt8:
      return linear || head ? Format::kI8 : Format::kBF16;
    case WeightScheme::kInt4:
      if (head || spec.name.ends_with(".kv_b_proj.weight")) return Format::kI8;
      return linear ? Format::kI4 : Format::kBF16;
  }
  return Format::kBF16;
}

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

Weight weight_shape(const ParamSpec& spec, WeightScheme scheme) {
  HADAL_CHECK(spec.shape.size() == 2, "{} is no map", spec.name);
  Weight w;
  w.format = format_of(spec, scheme);
  w.out_features = spec.shape[0];
  w.in_features = spec.shape[1];
  switch (w.format) {
    case Format::kF8E4M3:
      w.block_rows = w.block_cols = kF8Block;
      break;
    case Format::kI4:
      w.group = kI4Group;
      [[fallthrough]];
    case Format::kI8:
      w.block_rows = 1;
      w.block_cols = w.in_features;
      break;
    default:
      break;
  }
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
