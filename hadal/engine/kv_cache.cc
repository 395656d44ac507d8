#include "hadal/engine/kv_cache.h"

#include <cstdlib>
#include <new>

#include "hadal/model/mla.h"

namespace hadal::engine {
namespace {

int64_t num_caches(const model::ModelConfig& config) {
  return config.num_hidden_layers + config.num_nextn_predict_layers;
}

}  // namespace

void KvCache::Free::operator()(std::byte* p) const {
  std::free(p);
}

int64_t KvCache::bytes(const model::ModelConfig& config, int64_t tokens, Format format) {
  return tokens * model::layer_cache(config, format).row_bytes() * num_caches(config);
}

KvCache::KvCache(const model::ModelConfig& config, int64_t num_pages, int64_t page_size, Format format)
    : num_pages_(num_pages), page_size_(page_size) {
  ops::LayerCache layer = model::layer_cache(config, format);
  const int64_t layer_bytes = num_pages * page_size * layer.row_bytes();
  // calloc: pages of a large cache that no token ever reaches cost no memory.
  data_.reset(static_cast<std::byte*>(
      std::calloc(static_cast<size_t>(num_caches(config)), static_cast<size_t>(layer_bytes))));
  if (!data_) throw std::bad_alloc();
  for (int64_t l = 0; l < num_caches(config); ++l) {
    layer.data = data_.get() + l * layer_bytes;
    layers_.push_back(layer);
  }
}

}  // namespace hadal::engine
