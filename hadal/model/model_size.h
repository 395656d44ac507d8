#pragma once

#include <cstdint>
#include <vector>

#include "hadal/io/checkpoint.h"
#include "hadal/model/config.h"

namespace hadal::model {

/// Bytes that the weights take in one number format.
struct FormatBytes {
  io::DType dtype = io::DType::kF32;
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
};

/// What the config alone implies, with weights in the format of the releases: FP8 maps and their F32 scales where there
/// is a quantization_config, else BF16.
ModelSize implied_size(const ModelConfig& config);

/// Counts as above, bytes as they are in the files.
ModelSize checkpoint_size(const ModelConfig& config, const io::Checkpoint& checkpoint);

}  // namespace hadal::model
