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

/// Where the weights are to lie. As they are: in the mapped files, whose pages the machine may drop and read again.
struct LoadOptions {
  bool copies =
      false;  // in memory of our own, huge pages, placed on the pool's nodes (SafetensorsFile::copy_into_memory)
  bool locks = false;  // wherever they are, they stay there (lock_memory)
};

/// A Hugging Face folder as a model: config, then every tensor of for_each_param found, of the right shape and type. No number
/// has been looked at: read_weights does that. Throws kConfig, kCheckpoint, kIo. An MTP module that the config promises and the
/// checkpoint lacks altogether is left out (conversions drop it).
Model bind_model(const std::string& folder);

/// One pass over all numbers of a bound model, which brings them in from the disk in order and refuses NaN, infinity and bad
/// codes. Throws kCheckpoint, kIo, and kCapacity for copies that the memory has no room for and for locks that are refused.
void read_weights(Model& model, ThreadPool& pool, const LoadOptions& options = {},
                  const LoadProgress& progress = nullptr);

/// bind_model and read_weights.
Model load_model(const std::string& folder, ThreadPool& pool, const LoadProgress& progress = nullptr);

/// Throws kCheckpoint for the first number of the tensor that no model has, with its index: NaN and infinity, the I8 code
/// -128, a group of INT4 whose products do not fit 8 bits.
void check_numbers(const io::TensorEntry& tensor, const std::string& file, ThreadPool& pool);

}  // namespace hadal::model
