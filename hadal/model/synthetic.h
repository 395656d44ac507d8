#pragma once

#include <cstdint>
#include <string>

#include "hadal/core/thread_pool.h"
#include "hadal/model/model.h"
#include "hadal/model/weight_scheme.h"

namespace hadal::model {

/// The config of a model that can be measured without a download: "v2-lite" (DeepSeek-V2-Lite), "v3-layers=N"
/// (DeepSeek-V3 with N layers, the first min(3, N - 1) of them dense; 1 <= N <= 61), "tiny" (V2's architecture with 26
/// narrow layers: what is left is the cost of a layer, not of its numbers). Throws kUsage for any other name.
ModelConfig synthetic_config(const std::string& name);

/// A model of that config with random weights of standard deviation 0.02, made in memory by all threads and the same for
/// each seed: its activations are finite, its text is noise, its routers spread tokens evenly over the experts. MTP modules
/// are left out. Throws kCapacity when it does not fit.
Model synthetic_model(ModelConfig config, WeightScheme scheme, ThreadPool& pool, uint64_t seed = 0);

}  // namespace hadal::model
