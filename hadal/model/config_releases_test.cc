#include <cmath>
#include <filesystem>
#include <set>

#include "hadal/model/changed_config.h"

namespace hadal::model {
namespace {

// What spec and papers say of each release, and what save_pretrained of transformers 4.57 and 5 makes of it.
struct Expected {
  const char* name;
  int64_t layers, hidden, heads, q_lora_rank, experts, shared, per_token, groups, topk_group;
  TopkMethod method;
  double routed_scaling_factor, softmax_scale;
  int64_t vocab, eos, mtp;
  bool fp8, ue8m0;
};
constexpr auto kGreedy = TopkMethod::kGreedy, kGrouped = TopkMethod::kGroupLimitedGreedy,
               kNoaux = TopkMethod::kNoauxTc;
// clang-format off
const Expected kReleases[] = {
    {"deepseek_v2_lite", 27, 2048, 16, 0, 64, 2, 6, 1, 1, kGreedy, 1.0, 0.114721, 102400, 100001, 0, false, false},
    {"deepseek_coder_v2_lite", 27, 2048, 16, 0, 64, 2, 6, 1, 1, kGreedy, 1.0, 0.114721, 102400, 100001, 0, false, false},
    {"deepseek_v2", 60, 5120, 128, 1536, 160, 2, 6, 8, 3, kGrouped, 16.0, 0.114721, 102400, 100001, 0, false, false},
    {"deepseek_v2_5", 60, 5120, 128, 1536, 160, 2, 6, 8, 3, kGrouped, 16.0, 0.135234, 102400, 100001, 0, false, false},
    {"deepseek_coder_v2", 60, 5120, 128, 1536, 160, 2, 6, 8, 3, kGrouped, 16.0, 0.135234, 102400, 100001, 0, false, false},
    {"deepseek_v3", 61, 7168, 128, 1536, 256, 1, 8, 8, 4, kNoaux, 2.5, 0.135234, 129280, 1, 1, true, false},
    {"deepseek_v3_0324", 61, 7168, 128, 1536, 256, 1, 8, 8, 4, kNoaux, 2.5, 0.135234, 129280, 1, 1, true, false},
    {"deepseek_r1", 61, 7168, 128, 1536, 256, 1, 8, 8, 4, kNoaux, 2.5, 0.135234, 129280, 1, 1, true, false},
    {"deepseek_v3_1", 61, 7168, 128, 1536, 256, 1, 8, 8, 4, kNoaux, 2.5, 0.135234, 129280, 1, 1, true, true},
    {"transformers_4_deepseek_v2", 60, 5120, 128, 1536, 160, 2, 6, 8, 3, kGrouped, 16.0, 0.114721, 102400, 100001, 0, false, false},
    {"transformers_4_deepseek_v3", 61, 7168, 128, 1536, 256, 1, 8, 8, 4, kNoaux, 2.5, 0.135234, 129280, 1, 1, true, false},
    {"transformers_4_deepseek_v3_every_key", 61, 7168, 128, 1536, 256, 1, 8, 8, 4, kNoaux, 2.5, 0.135234, 129280, 1, 1, true, false},
    {"transformers_5_deepseek_v2_lite", 27, 2048, 16, 0, 64, 2, 6, 1, 1, kGreedy, 1.0, 0.114721, 102400, 100001, 0, false, false},
    {"transformers_5_deepseek_v3", 61, 7168, 128, 1536, 256, 1, 8, 8, 4, kNoaux, 2.5, 0.135234, 129280, 1, 1, true, false},
};
// clang-format on

class Releases : public testing::TestWithParam<Expected> {};

TEST_P(Releases, AreRead) {
  const Expected& e = GetParam();
  const ModelConfig c = load_config(kConfigs + e.name + ".json");
  const bool v3 = e.vocab == 129280;
  EXPECT_EQ(c.model_type, v3 ? "deepseek_v3" : "deepseek_v2");
  EXPECT_EQ(c.num_hidden_layers, e.layers);
  EXPECT_EQ(c.hidden_size, e.hidden);
  EXPECT_EQ(c.num_attention_heads, e.heads);
  EXPECT_EQ(c.q_lora_rank.value_or(0), e.q_lora_rank);
  EXPECT_EQ(c.n_routed_experts, e.experts);
  EXPECT_EQ(c.n_shared_experts, e.shared);
  EXPECT_EQ(c.num_experts_per_tok, e.per_token);
  EXPECT_EQ(c.n_group, e.groups);
  EXPECT_EQ(c.topk_group, e.topk_group);
  EXPECT_EQ(c.topk_method, e.method);
  EXPECT_EQ(c.scoring_func, v3 ? ScoringFunc::kSigmoid : ScoringFunc::kSoftmax);
  EXPECT_EQ(c.norm_topk_prob, v3);
  EXPECT_EQ(c.routed_scaling_factor, e.routed_scaling_factor);
  EXPECT_NEAR(c.softmax_scale(), e.softmax_scale, 5e-7);  // the table has six digits
  EXPECT_EQ(c.vocab_size, e.vocab);
  EXPECT_EQ(c.bos_token_id, v3 ? 0 : 100000);
  EXPECT_EQ(c.eos_token_ids, std::vector<int64_t>{e.eos});
  EXPECT_EQ(c.num_nextn_predict_layers, e.mtp);
  EXPECT_EQ(c.quantization.has_value(), e.fp8);
  EXPECT_EQ(c.quantization.value_or(QuantizationConfig{}).ue8m0, e.ue8m0);
}

TEST_P(Releases, ShareWhatTheFamilyShares) {
  const ModelConfig c = load_config(kConfigs + GetParam().name + ".json");
  EXPECT_EQ(c.kv_lora_rank, 512);
  EXPECT_EQ(c.qk_head_dim(), 192);
  EXPECT_EQ(c.v_head_dim, 128);
  EXPECT_EQ(c.latent_width(), 576);
  EXPECT_EQ(c.max_position_embeddings, 163840);
  EXPECT_EQ(c.rope_theta, 10000.0);
  EXPECT_EQ(c.rms_norm_eps, 1e-6);
  EXPECT_FALSE(c.tie_word_embeddings);
  ASSERT_TRUE(c.rope_scaling.has_value());
  EXPECT_EQ(c.rope_scaling->factor, 40.0);
  EXPECT_EQ(c.rope_scaling->original_max_position_embeddings, 4096);
  EXPECT_EQ(c.rope_scaling->beta_fast, 32.0);
  EXPECT_EQ(c.rope_scaling->beta_slow, 1.0);
  EXPECT_EQ(c.rope_scaling->mscale, c.rope_scaling->mscale_all_dim);
  EXPECT_FALSE(c.is_moe_layer(0));
  EXPECT_TRUE(c.is_moe_layer(c.num_hidden_layers - 1));
  EXPECT_TRUE(c.is_moe_layer(c.num_hidden_layers));  // the MTP module
}

INSTANTIATE_TEST_SUITE_P(All, Releases, testing::ValuesIn(kReleases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Config, EveryConfigInTheFolderIsInTheTable) {
  std::set<std::string> listed, present;
  for (const Expected& e : kReleases) listed.insert(e.name);
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs)) present.insert(entry.path().stem());
  EXPECT_EQ(listed, present);
}

TEST(Config, FolderAndFileAreTheSame) {
  const ModelConfig c = load_config("models/tiny-chat");
  EXPECT_EQ(c.hidden_size, load_config("models/tiny-chat/config.json").hidden_size);
  EXPECT_FALSE(c.rope_scaling.has_value());
  EXPECT_DOUBLE_EQ(c.softmax_scale(), 1.0 / std::sqrt(48.0));
}

TEST(Config, FileErrorsNameTheFile) {
  try {
    load_config("tests/data/configs/no_such_release.json");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kIo);
    EXPECT_NE(std::string(e.what()).find("no_such_release.json"), std::string::npos);
  }
  EXPECT_NE(refusal(json::array()).find("config.json"), std::string::npos);
}
json shapes_only(const std::string& model_type) {
  return {{"model_type", model_type}, {"vocab_size", 102400},     {"hidden_size", 128},
          {"num_hidden_layers", 6},   {"intermediate_size", 256}, {"num_attention_heads", 4},
          {"kv_lora_rank", 64},       {"qk_nope_head_dim", 32},   {"qk_rope_head_dim", 16},
          {"v_head_dim", 32}};
}

TEST(Config, AbsentKeysTakeTheOfficialDefaultsOfV3) {
  const ModelConfig c = parse(shapes_only("deepseek_v3"));
  EXPECT_EQ(c.topk_method, TopkMethod::kNoauxTc);
  EXPECT_EQ(c.scoring_func, ScoringFunc::kSigmoid);
  EXPECT_TRUE(c.norm_topk_prob);
  EXPECT_EQ(c.routed_scaling_factor, 2.5);
  EXPECT_EQ(c.moe_intermediate_size, 2048);
  EXPECT_EQ(c.first_k_dense_replace, 3);
  EXPECT_EQ(c.moe_layer_freq, 1);
  EXPECT_EQ(c.n_routed_experts, 256);
  EXPECT_EQ(c.n_shared_experts, 1);
  EXPECT_EQ(c.num_experts_per_tok, 8);
  EXPECT_EQ(c.n_group, 8);
  EXPECT_EQ(c.topk_group, 4);
  EXPECT_EQ(c.q_lora_rank, 1536);
  EXPECT_EQ(c.max_position_embeddings, 4096);
  EXPECT_EQ(c.rms_norm_eps, 1e-6);
  EXPECT_EQ(c.rope_theta, 10000.0);
  EXPECT_FALSE(c.rope_scaling || c.quantization || c.tie_word_embeddings);
  EXPECT_EQ(c.num_nextn_predict_layers, 0);
  EXPECT_EQ(c.bos_token_id, 0);
  EXPECT_EQ(c.eos_token_ids, std::vector<int64_t>{1});
}

TEST(Config, AbsentKeysTakeTheOfficialDefaultsOfV2) {
  const ModelConfig c = parse(shapes_only("deepseek_v2"));
  EXPECT_EQ(c.topk_method, TopkMethod::kGreedy);
  EXPECT_EQ(c.scoring_func, ScoringFunc::kSoftmax);
  EXPECT_FALSE(c.norm_topk_prob);
  EXPECT_EQ(c.routed_scaling_factor, 1.0);
  EXPECT_EQ(c.moe_intermediate_size, 1407);
  EXPECT_EQ(c.first_k_dense_replace, 0);
  EXPECT_EQ(c.n_routed_experts, 0);
  EXPECT_EQ(c.n_shared_experts, 0);
  EXPECT_EQ(c.n_group, 1);
  EXPECT_EQ(c.topk_group, 1);
  EXPECT_EQ(c.q_lora_rank, 1536);
  EXPECT_EQ(c.max_position_embeddings, 2048);
  EXPECT_EQ(c.bos_token_id, 100000);
  EXPECT_EQ(c.eos_token_ids, std::vector<int64_t>{100001});
}

}  // namespace
}  // namespace hadal::model
