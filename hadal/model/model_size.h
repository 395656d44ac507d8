#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hadal/io/checkpoint.h"
#include "hadal/model/config.h"
#include "hadal/model/param_spec.h"

namespace hadal::model {

/// Bytes that the weights take in one number format.
struct FormatBytes {
  std::string format;  // as safetensors spells the dtype; "I4" for weights with two codes in a byte
  int64_t bytes = 0;
};

/// How large a model is, by for_each_param.
struct ModelSize {
  int64_t total_params = 0;   // of the main model
  int64_t active_params = 0;  // of these, what multiplies one token: all but the embedding table, with
                              // num_experts_per_tok of the routed experts
  int64_t mtp_params =
      0;  // of the multi-token-prediction modules, without their copies of embedding and head
  std::vector<FormatBytes> bytes_by_format;  // largest first; MTP modules and block scales included
  int64_t kv_bytes_per_token = 0;            // of the main model's cache in BF16

  int64_t total_bytes() const;
  double bits_per_param() const;  // of all bytes, scales included
};

/// The format in which a tensor is stored where the config has this quantization_config: FP8 as in the releases, or as
/// `hadal quantize` chooses when it is told nothing else. BF16 for what is not quantised.
Format stored_format(const QuantizationConfig& quantization, const ParamSpec& spec);

/// What the config alone implies: stored_format where there is a quantization_config, else BF16.
ModelSize implied_size(const ModelConfig& config);

/// Counts as above, bytes as they are in the files.
ModelSize checkpoint_size(const ModelConfig& config, const io::Checkpoint& checkpoint);

}  // namespace hadal::model
