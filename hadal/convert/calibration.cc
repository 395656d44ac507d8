#include "hadal/convert/calibration.h"

#include <numeric>

#include "hadal/core/error.h"
#include "hadal/model/deepseek.h"

namespace hadal::convert {
namespace {

// Of moments that wait to be factored; as much again for factors in use, and one weight's more while it is factored.
constexpr int64_t kMomentBytes = int64_t{2} << 30;

bool replace_end(std::string& name, std::string_view end, std::string_view by) {
  if (!name.ends_with(end)) return false;
  name.replace(name.size() - end.size(), end.size(), by);
  return true;
}

// The weight before which this one's input is seen. Experts' gate and up projections take the moments of all tokens of
// their layer, which the router sees: an expert's own would be 50 GB a layer on V3.
std::string input_of(std::string name) {
  const size_t experts = name.find(".mlp.experts."), shared = name.find(".mlp.shared_experts.");
  const size_t moe = std::min(experts, shared);
  if (moe != std::string::npos && !name.ends_with("down_proj.weight"))
    return name.substr(0, moe) + ".mlp.gate.weight";
  for (const char* query : {"q_a_proj.weight", "q_proj.weight"})
    if (replace_end(name, query, "kv_a_proj_with_mqa.weight")) return name;
  replace_end(name, ".up_proj.weight", ".gate_proj.weight");
  return name;
}

}  // namespace

class Calibration::Observer : public ops::InputObserver {
 public:
  Observer(std::map<std::string, Moments>& moments, ThreadPool& pool) : moments_(moments), pool_(pool) {}
  void see(const Weight& w, Mat<const float> x, const std::span<const int32_t>* rows) override {
    const auto found = moments_.find(std::string(w.name));
    if (found != moments_.end()) found->second.add(x, rows, pool_);
  }

 private:
  std::map<std::string, Moments>& moments_;
  ThreadPool& pool_;
};

Calibration::Calibration(const model::Model& source, std::span<const std::vector<int32_t>> texts,
                         std::span<const Shard> shards, ThreadPool& pool)
    : source_(source), pool_(pool), texts_(texts) {
  for (const auto& text : texts)
    hidden_.emplace_back(std::array{static_cast<int64_t>(text.size()), source.config.hidden_size});
  for (const Shard& shard : shards) {
    for (const Item& item : shard.items) {
      if (item.is_copy() || item.layer < 0) continue;
      Input input{input_of(std::string(item.source.name)), item.layer, item.source.in_features};
      const auto [known, is_new] = number_.emplace(input.name, inputs_.size());
      if (is_new) inputs_.push_back(std::move(input));
      ++inputs_[known->second].weights;
    }
  }
}

std::shared_ptr<const Compensation> Calibration::for_item(const Item& item) {
  if (item.is_copy() || item.layer < 0) return nullptr;
  const std::string name = input_of(std::string(item.source.name));
  const auto known = shared_.find(name);
  if (known != shared_.end()) return known->second;
  const size_t number = number_.at(name);
  if (!moments_.contains(name)) observe(number);
  auto compensation = std::make_shared<const Compensation>(moments_.at(name), pool_);
  moments_.erase(name);
  if (inputs_[number].weights > 1) shared_.emplace(name, compensation);
  return compensation;
}

// Moments for this input and those after it in the same layer, as far as they fit.
void Calibration::observe(size_t first_input) {
  const int64_t layer = inputs_[first_input].layer;
  advance(layer);
  moments_.clear();
  int64_t bytes = 0;
  for (size_t i = first_input; i < inputs_.size() && inputs_[i].layer == layer; ++i) {
    bytes += Moments::bytes(inputs_[i].width);
    if (i > first_input && bytes > kMomentBytes) break;
    moments_.emplace(inputs_[i].name, inputs_[i].width);
  }
  Observer observer(moments_, pool_);
  for (size_t t = 0; t < texts_.size(); ++t) {
    if (layer == source_.config.num_hidden_layers) {
      observer.see(source_.weights.lm_head, hidden_[t].view(), nullptr);
    } else {
      Tensor<float, 2> x(hidden_[t].shape());
      copy(hidden_[t].view(), x.view());
      run_layer(layer, t, x.view(), &observer);
    }
  }
}

void Calibration::advance(int64_t layer) {
  HADAL_CHECK(layer >= layer_, "calibration is at layer {}, and {} is asked for", layer_, layer);
  if (layer > layer_) shared_.clear();
  for (; layer_ < layer; ++layer_) {
    for (size_t t = 0; t < texts_.size(); ++t) run_layer(layer_, t, hidden_[t].view(), nullptr);
  }
}

// One text through one layer. The cache holds this layer's latents only while it runs.
void Calibration::run_layer(int64_t layer, size_t text, Mat<float> x, ops::InputObserver* observer) {
  const auto frame = scratch_.frame();
  ops::Context ctx{pool_, scratch_, {}, observer};
  const auto tokens = static_cast<int64_t>(texts_[text].size());
  ops::LayerCache cache{Format::kBF16, nullptr, source_.config.kv_lora_rank, source_.config.qk_rope_head_dim};
  cache.data = scratch_.vec<std::byte>(tokens * cache.row_bytes()).data;
  const std::vector<ops::LayerCache> caches(static_cast<size_t>(layer) + 1, cache);
  std::vector<int32_t> positions(static_cast<size_t>(tokens));
  std::iota(positions.begin(), positions.end(), 0);
  const int32_t page = 0;  // one page for all
  const std::span<const int32_t> pages(&page, 1);
  const std::array ends{int32_t{0}, static_cast<int32_t>(tokens)};
  ops::Batch batch;
  batch.tokens = texts_[text];
  batch.positions = batch.slots = positions;
  batch.seq_start = ends;
  batch.pages = {&pages, 1};
  batch.page_size = tokens;
  model::forward(ctx, source_, batch, caches, layer, layer + 1, x, nullptr);
}

}  // namespace hadal::convert
