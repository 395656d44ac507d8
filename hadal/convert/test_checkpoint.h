#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "hadal/convert/quantize.h"
#include "hadal/core/test_files.h"

// For tests: small checkpoints, quantised, and changed afterwards.
namespace hadal::convert {

inline const std::string kBf16 = "tests/golden/v2", kFp8 = "tests/golden/v3_fp8";

inline QuantizeSummary quantized(const std::string& in, const std::string& out,
                                 const QuantizeOptions& options, int threads = 2) {
  ThreadPool pool(threads);
  return quantize(in, out, options, pool);
}

/// A tensor that owns its bytes.
struct OwnTensor {
  io::TensorEntry entry;
  std::vector<std::byte> bytes;
};
using Tensors = std::map<std::string, OwnTensor>;

/// Rewrites the one weight file of a folder with other tensors.
inline void edit_tensors(const std::string& folder, const std::function<void(Tensors&)>& edit) {
  const std::string path = folder + "/model-00001-of-00001.safetensors";
  Tensors tensors;
  {
    const io::SafetensorsFile file(path);
    for (const io::TensorEntry& entry : file.tensors()) {
      tensors[entry.name] = {entry, {entry.data.begin(), entry.data.end()}};
    }
  }
  edit(tensors);
  std::vector<io::TensorEntry> entries;
  for (auto& [name, tensor] : tensors) {
    tensor.entry.name = name;
    tensor.entry.data = tensor.bytes;
    entries.push_back(tensor.entry);
  }
  std::filesystem::remove(folder + "/model.safetensors.index.json");
  io::write_safetensors(path, entries);
}

}  // namespace hadal::convert
