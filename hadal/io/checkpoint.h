#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hadal/io/safetensors.h"

namespace hadal::io {

/// All tensors of a Hugging Face folder: model.safetensors.index.json with its shards, or else model.safetensors,
/// or else the one *.safetensors file there is. Shards are mapped when opened; no data page is touched.
class Checkpoint {
 public:
  /// Throws kCheckpoint: no weights in the folder; index that is not an index, names a file that is absent, is no
  /// plain file name (^[A-Za-z0-9._-]+\.safetensors$) or lacks the tensor; one tensor in two shards; a tensor in a
  /// shard that the index does not list; several *.safetensors files without an index. kIo: an unreadable folder.
  static Checkpoint open(const std::string& folder);

  const std::string& folder() const { return folder_; }
  /// Null when the checkpoint has no such tensor.
  const TensorEntry* find(std::string_view name) const;
  /// The file that holds the tensor, which must exist; for messages.
  const std::string& file_of(std::string_view name) const;
  /// In name order.
  std::vector<const TensorEntry*> tensors() const;
  const std::vector<std::unique_ptr<SafetensorsFile>>& files() const { return files_; }
  int64_t total_bytes() const;

 private:
  struct Location {
    const TensorEntry* tensor = nullptr;
    const SafetensorsFile* file = nullptr;
  };
  void add_file(const std::string& path);
  void check_index(const std::string& index_path, const std::map<std::string, std::string>& weight_map) const;

  std::string folder_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Location, std::less<>> index_;
};

}  // namespace hadal::io
