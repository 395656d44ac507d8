#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "hadal/model/config.h"
#include "hadal/ops/latent_cache.h"

namespace hadal::engine {

/// The memory of the paged latent cache: for each layer, MTP modules included, num_pages pages of page_size tokens. Who may
/// use which page is PageAllocator's business.
class KvCache {
 public:
  KvCache(const model::ModelConfig& config, int64_t num_pages, int64_t page_size, Format format);

  std::span<const ops::LayerCache> layers() const { return layers_; }
  int64_t num_pages() const { return num_pages_; }
  int64_t page_size() const { return page_size_; }

  /// Bytes that `tokens` tokens take in all layers.
  static int64_t bytes(const model::ModelConfig& config, int64_t tokens, Format format);

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  int64_t num_pages_, page_size_;
  std::unique_ptr<std::byte[], Free> data_;
  std::vector<ops::LayerCache> layers_;
};

}  // namespace hadal::engine
