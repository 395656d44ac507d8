#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "hadal/core/buffer.h"
#include "hadal/core/thread_pool.h"
#include "hadal/io/checkpoint.h"
#include "hadal/model/config.h"
#include "hadal/model/params.h"

namespace hadal::model {

/// A checkpoint ready to run: its config, its mapped files, and the weights as views on them.
struct Model {
  ModelConfig config;
  io::Checkpoint checkpoint;
  Weights weights;
  std::vector<float> inv_freq;  // [qk_rope_head_dim / 2]
  double rotary_magnitude = 1.0;

  /// What the views could not point at in the files: BF16 block scales as floats, tensors at odd addresses.
  std::vector<std::vector<float>> owned_scales;
  std::vector<std::vector<std::byte>> owned_bytes;

  /// What a model without files (synthetic.h) has instead: its numbers, and the names that its weights point at.
  std::vector<Buffer> owned_memory;
  std::deque<std::string> owned_names;
};

/// Bytes looked at so far, of how many.
using LoadProgress = std::function<void(int64_t done, int64_t total)>;

/// Opens a Hugging Face folder: config, then every tensor of for_each_param found, of the right shape and type, then
/// memory against what the machine has, then one pass over all numbers, which brings them in from the disk in
/// order and refuses NaN, infinity and bad codes. Throws kConfig, kCheckpoint, kCapacity, kIo. An MTP module that the config promises
/// and the checkpoint lacks altogether is left out (conversions drop it).
Model load_model(const std::string& folder, ThreadPool& pool, const LoadProgress& progress = nullptr);

/// The steps of load_model before the numbers are looked at: names, shapes, types. For verify and inspect.
Model bind_model(const std::string& folder);

/// Throws kCheckpoint for the first number of the tensor that no model has, with its index: NaN and infinity, the I8 code
/// -128, a group of INT4 whose products do not fit 8 bits.
void check_numbers(const io::TensorEntry& tensor, const std::string& file, ThreadPool& pool);

}  // namespace hadal::model
