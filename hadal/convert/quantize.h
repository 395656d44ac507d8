#pragma once

#include <cstdint>
#include <string>

#include "hadal/convert/plan.h"
#include "hadal/convert/shard.h"
#include "hadal/core/thread_pool.h"
#include "hadal/model/model.h"

namespace hadal::convert {

/// What was done, for the user.
struct QuantizeSummary {
  int64_t bytes_in = 0, bytes_out = 0;  // of weights
  int64_t files = 0, files_kept = 0;    // kept: whole already, from an earlier run
  SquaredError error;                   // of all weights quantised in this run
  std::string worst;                    // the tensor with the largest relative error among them
  double worst_error = 0.0;
};

/// Makes the folder `out` a checkpoint with the weights of the folder `in`, quantised: shards, index, tokenizer files and,
/// last, config.json. An earlier run into the same folder that was cut off is taken up again, if its options and source
/// (recorded in quantize.json) were the same. Throws kUsage for options that do not fit, kCheckpoint for a damaged source
/// or result, kCapacity for too little room on the disk, kIo.
QuantizeSummary quantize(const std::string& in, const std::string& out, const QuantizeOptions& options,
                         ThreadPool& pool, const model::LoadProgress& progress = nullptr);

}  // namespace hadal::convert
