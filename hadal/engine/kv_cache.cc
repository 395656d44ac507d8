#include "hadal/engine/kv_cache.h"

#include <cstdlib>
#include <new>

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
  return tokens * config.latent_width() * bytes_per_element(format) * num_caches(config);
}

KvCache::KvCache(const model::ModelConfig& config, int64_t num_pages, int64_t page_size, Format format)
    : num_pages_(num_pages), page_size_(page_size) {
  const int64_t layer_bytes = num_pages * page_size * config.latent_width() * bytes_per_element(format);
  // calloc: pages of a large cache that no token ever reaches cost no memory.
  data_.reset(static_cast<std::byte*>(
      std::calloc(static_cast<size_t>(num_caches(config)), static_cast<size_t>(layer_bytes))));
  if (!data_) throw std::bad_alloc();
  for (int64_t l = 0; l < num_caches(config); ++l) {
    layers_.push_back({format, data_.get() + l * layer_bytes, config.latent_width()});
  }
}

}  // namespace hadal::engine
