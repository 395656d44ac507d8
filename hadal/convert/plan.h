#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hadal/io/safetensors.h"
#include "hadal/model/model.h"

namespace hadal::convert {

struct QuantizeOptions {
  Format format = Format::kI4;    // kI4, kI8 or kF8E4M3: what most weights become (model::stored_format)
  int64_t group_size = 64;        // of kI4: 32, 64 or 128
  std::vector<std::string> keep;  // regular expressions: a tensor whose name has a match stays as it is
  const std::vector<std::vector<int32_t>>* calibration =
      nullptr;  // of kI4 and kI8: texts as token ids, by which to round; null: plain rounding
  int64_t shard_bytes = 4'000'000'000;  // of weights in one file, but for a tensor that is larger by itself
};

/// A tensor of the source and what is made of it.
struct Item {
  Weight source;  // empty: the tensors are copied
  Format target = Format::kBF16;
  int64_t group_size = 0;
  int64_t layer = -1;  // whose pass sees the inputs of `source`; num_hidden_layers: the head's; -1: none does
  std::vector<const io::TensorEntry*> read;  // what is read: the tensor, and the scales of FP8
  std::vector<io::TensorEntry> written;      // copied with their data; or, without: codes, scales, groups

  bool is_copy() const { return source.empty(); }
  int64_t bytes_read() const;
  int64_t bytes_written() const;
};

/// The tensors of one file.
struct Shard {
  std::string file;
  std::vector<Item> items;

  /// In the order of the file. Data begins at a multiple of kDataAlignment and the sizes that are multiples of it come
  /// first, so that every large tensor is aligned to it; the others follow by how much their sizes keep aligned.
  std::vector<io::TensorEntry> tensors() const;
  int64_t bytes_read() const;
};

/// What becomes of each tensor and in which file it lies: the same for the same source and options. Throws kUsage for
/// options that do not fit the source: a source that is quantised already, a regular expression that is none or has no match.
std::vector<Shard> make_plan(model::Model& source, const QuantizeOptions& options);

}  // namespace hadal::convert
