#pragma once

#include <vector>

#include "hadal/model/config.h"

namespace hadal::model {

/// Angle per position of each rotary pair, [qk_rope_head_dim / 2]: rope_theta^(-2i/d), stretched by YaRN where the config
/// has rope_scaling (arXiv:2309.00071; always on, for short prompts too: docs/model.md#yarn).
std::vector<float> inverse_frequencies(const ModelConfig& config);

/// YaRN's 0.1 m ln(s) + 1, or 1 for s <= 1.
double yarn_mscale(double factor, double m);

/// What cosines and sines are multiplied by: mscale over mscale_all_dim; 1 in all releases.
double rotary_magnitude(const ModelConfig& config);

}  // namespace hadal::model
