#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hadal/model/config.h"

namespace hadal::model {

/// generation_config.json: the checkpoint's own sampling defaults.
struct GenerationConfig {
  double temperature = 1.0, top_p = 1.0;
  int64_t top_k = 0;  // 0: off
  double repetition_penalty = 1.0;
  std::vector<int64_t> eos_token_ids;
};

/// Reads a parsed generation_config.json; `where` (the file) opens each message. Keys that hadal has no use for are
/// skipped, because transformers writes many; a key that it uses must have the right type and range, or be null.
GenerationConfig parse_generation_config(const json& generation, const std::string& where,
                                         const ModelConfig& config);

/// folder/generation_config.json, with config.json's eos ids where it has none; do_sample false means temperature 0.
/// An absent file gives the defaults above. Throws kConfig for values out of range.
GenerationConfig load_generation_config(const std::string& folder, const ModelConfig& config);

}  // namespace hadal::model
