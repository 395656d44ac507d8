#include "hadal/model/yarn.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hadal::model {
namespace {

// The pair that turns `rotations` times over the original context.
double correction_dim(const ModelConfig& c, double rotations) {
  const auto context = static_cast<double>(c.rope_scaling->original_max_position_embeddings);
  return static_cast<double>(c.qk_rope_head_dim) * std::log(context / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(c.rope_theta));
}

}  // namespace

std::vector<float> inverse_frequencies(const ModelConfig& config) {
  const int64_t d = config.qk_rope_head_dim;
  std::vector<float> frequencies;
  double low = 0, high = 0;
  if (config.rope_scaling) {
    low = std::max(std::floor(correction_dim(config, config.rope_scaling->beta_fast)), 0.0);
    high = std::min(std::ceil(correction_dim(config, config.rope_scaling->beta_slow)),
                    static_cast<double>(d - 1));
    if (low == high) high += 0.001;  // the official code's guard against 0 / 0
  }
  for (int64_t i = 0; i < d / 2; ++i) {
    const double plain = std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(d));
    if (!config.rope_scaling) {
      frequencies.push_back(static_cast<float>(plain));
      continue;
    }
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies.push_back(
        static_cast<float>(plain / config.rope_scaling->factor * ramp + plain * (1 - ramp)));
  }
  return frequencies;
}

double yarn_mscale(double factor, double m) {
  return factor <= 1.0 ? 1.0 : 0.1 * m * std::log(factor) + 1.0;
}

double rotary_magnitude(const ModelConfig& config) {
  if (!config.rope_scaling) return 1.0;
  const YarnScaling& yarn = *config.rope_scaling;
  return yarn_mscale(yarn.factor, yarn.mscale) / yarn_mscale(yarn.factor, yarn.mscale_all_dim);
}

}  // namespace hadal::model
