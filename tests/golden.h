#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "hadal/core/json.h"
#include "hadal/io/safetensors.h"

namespace hadal::tests {

/// One golden case: a tiny random checkpoint and what the official code says to it (docs/testing.md#goldens).
class Golden {
 public:
  explicit Golden(const std::string& folder);

  const std::string& folder() const { return folder_; }
  const json& meta() const { return meta_; }
  /// Names of the prompts' tensors begin with "p0.", "p1.", ...
  std::vector<std::string> prompts() const;
  const io::TensorEntry* find(const std::string& name) const { return file_.find(name); }
  std::span<const float> floats(const std::string& name) const;
  std::span<const int32_t> ints(const std::string& name) const;

 private:
  std::string folder_;
  json meta_;
  io::SafetensorsFile file_;
};

/// tests/golden/*, or the folders under $HADAL_GOLDENS when it is set.
std::vector<std::string> golden_folders();

double max_abs_diff(std::span<const float> a, std::span<const float> b);
/// ||a - b|| / ||b||
double relative_l2(std::span<const float> a, std::span<const float> b);
/// Rows of `width` whose largest element stands elsewhere.
int64_t argmax_mismatches(std::span<const float> a, std::span<const float> b, int64_t width);

}  // namespace hadal::tests
