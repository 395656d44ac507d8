#include "hadal/engine/kv_cache.h"

#include <gtest/gtest.h>

namespace hadal::engine {
namespace {

// The released shapes: docs/model.md has these sizes.
model::ModelConfig config(int64_t layers, int64_t mtp_modules) {
  model::ModelConfig c;
  c.num_hidden_layers = layers;
  c.num_nextn_predict_layers = mtp_modules;
  c.kv_lora_rank = 512;
  c.qk_rope_head_dim = 64;
  return c;
}

TEST(KvCache, TakesTheKnownBytesPerToken) {
  EXPECT_EQ(KvCache::bytes(config(27, 0), 1, Format::kBF16), 31'104);  // V2-Lite
  EXPECT_EQ(KvCache::bytes(config(60, 0), 1, Format::kBF16), 69'120);  // V2
  EXPECT_EQ(KvCache::bytes(config(61, 0), 1, Format::kBF16), 70'272);  // V3 without its MTP module
  EXPECT_EQ(KvCache::bytes(config(61, 1), 100, Format::kF32), int64_t{62} * 576 * 4 * 100);
  // 512 codes, a float, 64 BF16 numbers, and 12 bytes so that the next row begins at a multiple of 16.
  EXPECT_EQ(KvCache::bytes(config(61, 0), 1, Format::kF8E4M3), 61 * (512 + 4 + 2 * 64 + 12));
}

TEST(KvCache, GivesEachLayerItsOwnZeros) {
  constexpr int64_t kPages = 3, kPageSize = 16;
  for (const Format format : {Format::kBF16, Format::kF32, Format::kF8E4M3}) {
    const KvCache cache(config(2, 1), kPages, kPageSize, format);
    EXPECT_EQ(cache.num_pages(), kPages);
    EXPECT_EQ(cache.page_size(), kPageSize);
    ASSERT_EQ(cache.layers().size(), 3U);
    const int64_t layer_bytes = kPages * kPageSize * cache.layers()[0].row_bytes();
    for (size_t l = 0; l < 3; ++l) {
      const ops::LayerCache& layer = cache.layers()[l];
      EXPECT_EQ(layer.format, format);
      EXPECT_EQ(layer.width(), 576);
      EXPECT_EQ(layer.data - cache.layers()[0].data, static_cast<int64_t>(l) * layer_bytes);
      for (int64_t i = 0; i < layer_bytes; ++i) ASSERT_EQ(layer.data[i], std::byte{0});
      std::fill_n(layer.data, layer_bytes, std::byte{0xff});  // its own: the next layer is still zero
    }
  }
}

}  // namespace
}  // namespace hadal::engine
