#include "hadal/convert/calibration.h"

#include <numeric>

#include <gtest/gtest.h>

#include "hadal/convert/codec.h"
#include "hadal/convert/test_checkpoint.h"
#include "hadal/core/test_random.h"
#include "hadal/model/deepseek.h"

namespace hadal::convert {
namespace {

namespace fs = std::filesystem;

using Texts = std::vector<std::vector<int32_t>>;

Texts texts_for(const std::string& folder) {
  const model::ModelConfig config = model::load_config(folder);
  TestRandom random(1);
  Texts texts(3);
  for (size_t i = 0; i < texts.size(); ++i) {
    for (size_t t = 0; t < 20 + i; ++t)
      texts[i].push_back(static_cast<int32_t>(random.below(config.vocab_size)));
  }
  return texts;
}

std::string text_of(const std::string& path) {
  return read_text_file(path, 1 << 30, ErrorKind::kIo);
}

void expect_same_files(const std::string& a, const std::string& b) {
  for (const auto& entry : fs::directory_iterator(a)) {
    const std::string name = entry.path().filename().string();
    EXPECT_EQ(text_of(a + "/" + name), text_of(b + "/" + name)) << name;
  }
}

// What goes into the head, by one pass through all layers.
Moments head_moments(const model::Model& source, const Texts& texts, ThreadPool& pool) {
  const int64_t layers = source.config.num_hidden_layers;
  Moments moments(source.config.hidden_size);
  for (const auto& text : texts) {
    Arena scratch;
    ops::Context ctx{pool, scratch, {}};
    const auto tokens = static_cast<int64_t>(text.size());
    std::vector<ops::LayerCache> caches;
    for (int64_t l = 0; l < layers; ++l) {
      ops::LayerCache cache{Format::kBF16, nullptr, source.config.kv_lora_rank,
                            source.config.qk_rope_head_dim};
      cache.data = scratch.vec<std::byte>(tokens * cache.row_bytes()).data;
      caches.push_back(cache);
    }
    std::vector<int32_t> positions(text.size());
    std::iota(positions.begin(), positions.end(), 0);
    const std::vector<int32_t> page{0}, ends{0, static_cast<int32_t>(tokens)};
    const std::span<const int32_t> pages = page;
    ops::Batch batch;
    batch.tokens = text;
    batch.positions = batch.slots = positions;
    batch.seq_start = ends;
    batch.pages = {&pages, 1};
    batch.page_size = tokens;
    const auto x = scratch.mat<float>(tokens, source.config.hidden_size);
    model::forward(ctx, source, batch, caches, 0, layers, x, nullptr);
    moments.add(x, nullptr, pool);
  }
  return moments;
}

TEST(Calibration, LayerByLayerIsTheWholeModel) {
  ThreadPool pool(2);
  model::Model source = model::bind_model(kBf16);
  const Texts texts = texts_for(kBf16);
  const std::vector<Shard> plan = make_plan(source, {.keep = {}});
  Calibration calibration(source, texts, plan, pool);
  const auto head = std::ranges::find_if(
      plan[0].items, [](const Item& item) { return item.written[0].name == "lm_head.weight"; });
  ASSERT_NE(head, plan[0].items.end());
  const auto found = calibration.for_item(*head);
  const Compensation expected(head_moments(source, texts, pool), pool);
  std::vector<float> row(static_cast<size_t>(source.config.hidden_size)), a(row.size()), b(row.size());
  Grid grid(source.config.hidden_size);
  std::ranges::fill(grid.step, 0.02F);
  std::ranges::fill(grid.low, -8.0F);
  std::ranges::fill(grid.high, 7.0F);
  bool is_plain = true;
  for (int64_t n = 0; n < 20; ++n) {
    expand_row(head->source, n, row.data());
    found->round(row, {&grid, 1}, a);
    expected.round(row, {&grid, 1}, b);
    EXPECT_EQ(a, b) << n;
    for (size_t k = 0; k < row.size(); ++k)
      is_plain &= a[k] == std::nearbyint(std::clamp(row[k] / 0.02F, -8.0F, 7.0F));
  }
  EXPECT_FALSE(is_plain);
}

TEST(Calibration, ExpertsShareWhatTheirLayerSees) {
  ThreadPool pool(1);
  model::Model source = model::bind_model(kBf16);
  const Texts texts = texts_for(kBf16);
  const std::vector<Shard> plan = make_plan(source, {.keep = {}});
  Calibration calibration(source, texts, plan, pool);
  std::map<std::string, std::shared_ptr<const Compensation>> found;
  for (const Item& item : plan[0].items) found[item.written[0].name] = calibration.for_item(item);
  const std::string experts = "model.layers.1.mlp.experts.", attention = "model.layers.1.self_attn.";
  EXPECT_NE(found[experts + "0.up_proj.weight"], nullptr);
  EXPECT_EQ(found[experts + "0.up_proj.weight"], found[experts + "3.gate_proj.weight"]);
  EXPECT_NE(found[experts + "0.down_proj.weight"], found[experts + "3.down_proj.weight"]);
  EXPECT_EQ(found[attention + "q_a_proj.weight"], found[attention + "kv_a_proj_with_mqa.weight"]);
  EXPECT_EQ(found[attention + "kv_b_proj.weight"]->width(), source.config.kv_lora_rank);
  EXPECT_EQ(found["model.norm.weight"], nullptr);
}

TEST(Calibration, SameBytesForAnyNumberOfThreadsAndAfterACut) {
  const TempFolder scratch;
  const std::string one = scratch.path("one"), three = scratch.path("three");
  for (const Format format : {Format::kI4, Format::kI8}) {
    const Texts texts = texts_for(kBf16);
    const QuantizeOptions options{
        .format = format, .keep = {}, .calibration = &texts, .shard_bytes = 200'000};
    const QuantizeSummary done = quantized(kBf16, one, options, 1);
    EXPECT_GT(done.files, 2);
    quantized(kBf16, three, options, 3);
    expect_same_files(one, three);
    model::Model source = model::bind_model(kBf16);
    fs::remove(three + "/" + make_plan(source, options)[1].file);  // of a layer in the middle
    fs::remove(three + "/config.json");
    EXPECT_EQ(quantized(kBf16, three, options, 2).files_kept, done.files - 1);
    expect_same_files(one, three);
    fs::remove_all(one);
    fs::remove_all(three);
  }
}

TEST(Calibration, AnotherTextIsAnotherRun) {
  const TempFolder scratch;
  Texts texts = texts_for(kBf16);
  const QuantizeOptions options{.keep = {}, .calibration = &texts};
  quantized(kBf16, scratch.path("out"), options);
  texts[1][3] ^= 1;
  EXPECT_TRUE(contains(error_of(ErrorKind::kUsage, [&] { quantized(kBf16, scratch.path("out"), options); }),
                       {"quantize.json", "calibration"}));
}

TEST(Calibration, ModulesForFurtherTokensAreRoundedPlainly) {
  const TempFolder scratch;
  quantized(kFp8, scratch.path("plain"), {.keep = {}});
  const Texts texts = texts_for(kFp8);
  quantized(kFp8, scratch.path("calibrated"), {.keep = {}, .calibration = &texts});
  const model::Model plain = model::bind_model(scratch.path("plain")),
                     calibrated = model::bind_model(scratch.path("calibrated"));
  const auto same = [](const Weight& a, const Weight& b) {
    return std::equal(a.data, a.data + a.bytes(), b.data);
  };
  ASSERT_EQ(plain.weights.mtp.size(), 1U);
  EXPECT_TRUE(
      same(plain.weights.mtp[0].layer.self_attn.o_proj, calibrated.weights.mtp[0].layer.self_attn.o_proj));
  EXPECT_FALSE(same(plain.weights.layers[0].self_attn.o_proj, calibrated.weights.layers[0].self_attn.o_proj));
}

}  // namespace
}  // namespace hadal::convert
