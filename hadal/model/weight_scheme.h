#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "hadal/core/weight.h"
#include "hadal/model/config.h"
#include "hadal/model/param_spec.h"
#include "hadal/model/params.h"

namespace hadal::model {

/// Which tensor is stored in which format, in the four ways that are in use. Norms and biases are FP32 in memory always.
///   kBF16  everything BF16                                  (V2, V2.5)
///   kFP8   linear maps E4M3 in blocks of 128 x 128; embedding, head and router BF16            (V3, R1)
///   kInt8, kInt4  as `hadal quantize` writes them: linear maps and head I8, but for kInt4 routed experts, q_proj and q_b_proj
///                 I4 in groups of 64; embedding and router BF16
enum class WeightScheme : uint8_t { kBF16, kFP8, kInt8, kInt4 };

/// "bf16", "fp8", "int8", "int4".
std::string_view to_string(WeightScheme scheme);
/// Throws kUsage for any other name.
WeightScheme parse_weight_scheme(std::string_view name);

/// The quantization_config of a checkpoint in this scheme, and the scheme that a config.json names.
std::optional<QuantizationConfig> quantization_of(WeightScheme scheme);
WeightScheme scheme_of(const std::optional<QuantizationConfig>& quantization);

/// A weight of the spec's shape in the scheme's format, without numbers: data, scale and group_code are null. spec: not a
/// kVector.
Weight weight_shape(const ParamSpec& spec, WeightScheme scheme);

/// All of a model's maps as weight_shape gives them, and its vectors with their sizes: what arithmetic over a model needs.
Weights weight_shapes(const ModelConfig& config, WeightScheme scheme);

/// Bytes of a weight with its scales, as hadal holds it: BF16 block scales of a file are floats in memory.
int64_t stored_bytes(const Weight& weight);

}  // namespace hadal::model
