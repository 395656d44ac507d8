#pragma once

#include <string>
#include <vector>

#include "hadal/model/config.h"
#include "hadal/model/model_size.h"

namespace hadal::model {

/// What can be said of a model without running it.
struct Inspection {
  std::string folder;  // empty when there is a config.json only
  ModelConfig config;  // as config.json has it
  ModelSize size;      // bytes from the files where there are weights
  bool has_weights = false;
  int64_t mtp_modules = 0;  // of num_nextn_predict_layers, those that the weights have (without weights: all)
  std::string problem;      // why these weights do not run; empty: they do, if there are any
};

/// Looks at a folder, or at a config.json alone: no tensor's numbers are read. Weights that do not fit the config or
/// hadal are not an Error but a `problem`; a config that does not parse throws kConfig, a path that does not exist kIo.
Inspection inspect(const std::string& path);

/// The architecture in words, a line for each of its parts.
std::vector<std::string> describe(const ModelConfig& config);

/// "671B", "37B", "2.45B": whole from 20 on as the papers write it, three digits below.
std::string format_count(int64_t count);

}  // namespace hadal::model
