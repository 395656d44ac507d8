#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hadal/convert/compensate.h"
#include "hadal/convert/plan.h"
#include "hadal/core/arena.h"
#include "hadal/core/thread_pool.h"
#include "hadal/core/view.h"
#include "hadal/model/model.h"
#include "hadal/ops/context.h"

namespace hadal::convert {

/// Runs the source over texts, one layer at a time, to see what goes into its weights. Between layers only the hidden states
/// are kept; moments are made for as many weights as fit a budget, and further ones by running the layer again. So memory
/// is bounded whatever the model, and nothing depends on threads or on where an earlier run was cut off.
class Calibration {
 public:
  /// texts: sequences of token ids, each at most max_position_embeddings long. The shards, in their order, are what will be
  /// asked for.
  Calibration(const model::Model& source, std::span<const std::vector<int32_t>> texts,
              std::span<const Shard> shards, ThreadPool& pool);

  /// How to round an item's weight; null for an item that no layer's pass sees. Items come in the order of the shards;
  /// some may be left out. Throws what model::forward throws.
  std::shared_ptr<const Compensation> for_item(const Item& item);

 private:
  struct Input {
    std::string name;  // the weight before which it is seen: several weights may share it
    int64_t layer = 0, width = 0;
    int64_t weights = 0;  // that share it
  };
  class Observer;

  void advance(int64_t layer);
  void observe(size_t first_input);
  void run_layer(int64_t layer, size_t text, Mat<float> x, ops::InputObserver* observer);

  const model::Model& source_;
  ThreadPool& pool_;
  Arena scratch_;
  std::span<const std::vector<int32_t>> texts_;
  std::vector<Tensor<float, 2>> hidden_;  // [tokens, hidden_size] of each text: what goes into layer_
  int64_t layer_ = 0;
  std::vector<Input> inputs_;             // in the order in which they will be asked for
  std::map<std::string, size_t> number_;  // of an input
  std::map<std::string, Moments> moments_;
  std::map<std::string, std::shared_ptr<const Compensation>> shared_;  // of this layer, for several weights
};

}  // namespace hadal::convert
