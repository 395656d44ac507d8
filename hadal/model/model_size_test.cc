#include "hadal/model/model_size.h"

#include <gtest/gtest.h>

#include "hadal/model/changed_config.h"

namespace hadal::model {
namespace {

ModelSize size_of(const std::string& name) {
  return implied_size(parse(release(name)));
}

int64_t bytes_of(const ModelSize& size, const std::string& name) {
  for (const FormatBytes& format : size.bytes_by_format) {
    if (format.format == name) return format.bytes;
  }
  return 0;
}

// The published sizes: 15.7B and 2.4B, 236B and 21B, 671B and 37B (36.6B in the notes on its weights).
TEST(ModelSize, ParametersOfTheReleases) {
  EXPECT_EQ(size_of("deepseek_v2_lite").total_params, 15'706'484'224);
  EXPECT_EQ(size_of("deepseek_v2_lite").active_params, 2'451'435'008);
  EXPECT_EQ(size_of("deepseek_v2").total_params, 235'741'434'880);
  EXPECT_EQ(size_of("deepseek_v2").active_params, 20'851'512'320);
  EXPECT_EQ(size_of("deepseek_v3").total_params, 671'026'419'200);
  EXPECT_EQ(size_of("deepseek_v3").active_params, 36'625'618'432);
  EXPECT_EQ(size_of("deepseek_v3").mtp_params, 11'610'068'224);
  EXPECT_EQ(size_of("deepseek_v2").mtp_params, 0);
}

TEST(ModelSize, CacheOfTheReleases) {
  EXPECT_EQ(size_of("deepseek_v2_lite").kv_bytes_per_token, 31'104);
  EXPECT_EQ(size_of("deepseek_v2").kv_bytes_per_token, 69'120);
  EXPECT_EQ(size_of("deepseek_v3").kv_bytes_per_token, 70'272);
}

TEST(ModelSize, ATiedHeadIsActiveOnce) {
  const ModelConfig untied = parse(release("deepseek_v2_lite"));
  ModelConfig tied = untied;
  tied.tie_word_embeddings = true;
  const int64_t table = untied.vocab_size * untied.hidden_size;
  EXPECT_EQ(implied_size(tied).total_params, implied_size(untied).total_params - table);
  EXPECT_EQ(implied_size(tied).active_params, implied_size(untied).active_params);
}

TEST(ModelSize, ADenseModelIsAllActiveButForTheTable) {
  const ModelConfig c =
      parse(changed("deepseek_v2_lite", R"({"/n_routed_experts": null, "/num_experts_per_tok": null})"));
  const ModelSize size = implied_size(c);
  EXPECT_EQ(size.active_params, size.total_params - c.vocab_size * c.hidden_size);
}

TEST(ModelSize, ImpliedBytes) {
  const ModelSize v2 = size_of("deepseek_v2");
  ASSERT_EQ(v2.bytes_by_format.size(), 1U);
  EXPECT_EQ(bytes_of(v2, "BF16"), 2 * v2.total_params);
  EXPECT_EQ(v2.total_bytes(), 2 * v2.total_params);

  const ModelSize v3 = size_of("deepseek_v3");
  ASSERT_EQ(v3.bytes_by_format.size(), 3U);
  EXPECT_EQ(v3.bytes_by_format[0].format, "F8_E4M3");  // the largest first
  const int64_t numbers = bytes_of(v3, "F8_E4M3") + bytes_of(v3, "BF16") / 2;
  EXPECT_EQ(numbers, v3.total_params + v3.mtp_params);
  // One FP32 scale for 128 x 128 codes, a little more where blocks are cut off.
  EXPECT_NEAR(static_cast<double>(bytes_of(v3, "F32")) / static_cast<double>(bytes_of(v3, "F8_E4M3")),
              4.0 / (128 * 128), 1e-7);
}

TEST(ModelSize, BytesOfACheckpointAreThoseOfItsTensors) {
  const ModelConfig config = load_config("models/tiny-chat");
  const io::Checkpoint checkpoint = io::Checkpoint::open("models/tiny-chat");
  const ModelSize size = checkpoint_size(config, checkpoint);
  EXPECT_EQ(size.total_bytes(), checkpoint.total_bytes());
  EXPECT_EQ(size.total_params, implied_size(config).total_params);
  EXPECT_GT(bytes_of(size, "BF16"), 0);
}

// Every width at its bound: the sums stay within an int64_t (a sanitizer would see the overflow).
TEST(ModelSize, TheLargestConfigDoesNotOverflow) {
  const ModelConfig c = parse(changed("deepseek_v3", R"({"/vocab_size": 16777216, "/hidden_size": 262144,
      "/intermediate_size": 262144, "/moe_intermediate_size": 262144, "/num_hidden_layers": 960,
      "/num_nextn_predict_layers": 64, "/first_k_dense_replace": 0, "/num_attention_heads": 4096,
      "/num_key_value_heads": null, "/q_lora_rank": 65536, "/kv_lora_rank": 65536, "/qk_nope_head_dim": 4096,
      "/qk_rope_head_dim": 4096, "/v_head_dim": 4096, "/n_routed_experts": 64, "/n_shared_experts": 256,
      "/quantization_config/weight_block_size": [1, 1], "/max_position_embeddings": 1073741824})"));
  const ModelSize size = implied_size(c);
  EXPECT_GT(size.total_params, int64_t{1} << 50);
  EXPECT_GT(size.total_bytes(), size.total_params);
  EXPECT_LT(size.total_bytes(), int64_t{1} << 60);
  EXPECT_LT(size.kv_bytes_per_token * c.max_position_embeddings, int64_t{1} << 60);
}

}  // namespace
}  // namespace hadal::model
