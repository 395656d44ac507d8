#include "hadal/model/synthetic.h"

#include <cmath>
#include <cstring>
#include <set>

#include <gtest/gtest.h>

#include "hadal/core/dtype.h"
#include "hadal/model/changed_config.h"

namespace hadal::model {
namespace {

// The value of element (n, k), by the formulas of core/weight.h.
double value(const Weight& w, int64_t n, int64_t k) {
  const std::byte* row = w.data + n * w.row_bytes();
  switch (w.format) {
    case Format::kBF16: {
      bf16 code{};
      std::memcpy(&code, row + 2 * k, sizeof code);
      return to_float(code);
    }
    case Format::kF8E4M3: {
      const f8e4m3 code{static_cast<uint8_t>(row[k])};
      return to_float(code) * w.scale[n / w.block_rows * w.scale_cols() + k / w.block_cols];
    }
    case Format::kI8:
      return double{w.scale[n]} * static_cast<int8_t>(row[k]);
    case Format::kI4: {
      const auto byte = static_cast<int>(row[k / 64 * 32 + k % 32]);
      const int code = k % 64 < 32 ? byte & 15 : byte >> 4,
                group = w.group_code[n * w.group_cols() + k / w.group];
      EXPECT_LE((group & 15) * std::max(group >> 4, 15 - (group >> 4)), 127);
      return double{w.scale[n]} * (code - (group >> 4)) * (group & 15);
    }
    default:
      ADD_FAILURE() << to_string(w.format);
      return 0;
  }
}

double std_of(const Weight& w) {
  double sum = 0;
  for (int64_t n = 0; n < w.out_features; ++n) {
    for (int64_t k = 0; k < w.in_features; ++k) sum += value(w, n, k) * value(w, n, k);
  }
  return std::sqrt(sum / static_cast<double>(w.out_features * w.in_features));
}

TEST(Synthetic, ConfigsAreThoseOfTheReleases) {
  ModelConfig expected = parse(release("deepseek_v2_lite")), made = synthetic_config("v2-lite");
  const auto sizes = [](const ModelConfig& c) {
    return std::vector<int64_t>{c.vocab_size,
                                c.hidden_size,
                                c.intermediate_size,
                                c.moe_intermediate_size,
                                c.num_hidden_layers,
                                c.first_k_dense_replace,
                                c.moe_layer_freq,
                                c.num_attention_heads,
                                c.q_lora_rank.value_or(0),
                                c.kv_lora_rank,
                                c.qk_nope_head_dim,
                                c.qk_rope_head_dim,
                                c.v_head_dim,
                                c.n_routed_experts,
                                c.n_shared_experts,
                                c.num_experts_per_tok,
                                c.n_group,
                                c.topk_group,
                                c.max_position_embeddings};
  };
  EXPECT_EQ(sizes(made), sizes(expected));
  EXPECT_EQ(made.topk_method, expected.topk_method);
  EXPECT_EQ(made.softmax_scale(), expected.softmax_scale());
  expected = parse(release("deepseek_v3"));
  made = synthetic_config("v3-layers=61");
  EXPECT_EQ(sizes(made), sizes(expected));
  EXPECT_EQ(made.topk_method, expected.topk_method);
  EXPECT_EQ(made.scoring_func, expected.scoring_func);
  EXPECT_EQ(made.norm_topk_prob, expected.norm_topk_prob);
  EXPECT_EQ(made.routed_scaling_factor, expected.routed_scaling_factor);
  EXPECT_EQ(made.softmax_scale(), expected.softmax_scale());
  EXPECT_EQ(synthetic_config("v3-layers=2").first_k_dense_replace, 1);
  EXPECT_EQ(synthetic_config("v3-layers=1").first_k_dense_replace, 0);
}

TEST(Synthetic, OtherNamesAreRefused) {
  for (const char* name :
       {"", "v2", "v3", "v3-layers=", "v3-layers=0", "v3-layers=62", "v3-layers=x", "v3-layers=-1"})
    EXPECT_THROW(synthetic_config(name), Error) << name;
  EXPECT_THROW(parse_weight_scheme("q4"), Error);
}

TEST(Synthetic, WeightsHaveTheirStandardDeviation) {
  ThreadPool pool(2);
  ModelConfig config = synthetic_config("tiny");
  config.num_hidden_layers = 2;
  config.moe_intermediate_size = 100;  // a last block of INT4 that is not full
  for (const auto scheme :
       {WeightScheme::kBF16, WeightScheme::kFP8, WeightScheme::kInt8, WeightScheme::kInt4}) {
    const Model model = synthetic_model(config, scheme, pool);
    const MoeWeights& moe = model.weights.layers[1].moe;
    for (const Weight* w : {&moe.gate_proj[3], &moe.down_proj[0], &moe.gate, &model.weights.lm_head,
                            &model.weights.layers[0].self_attn.kv_b_proj}) {
      EXPECT_NEAR(std_of(*w), 0.02, 0.004) << to_string(scheme) << " " << w->name;
    }
    EXPECT_EQ(moe.gate_proj[3].name, "model.layers.1.mlp.experts.3.gate_proj.weight");
    EXPECT_EQ(model.weights.norm.values, std::vector<float>(256, 1.0F));
    EXPECT_EQ(scheme_of(model.config.quantization), scheme);
  }
}

TEST(Synthetic, PaddingOfInt4HoldsTheZeroCode) {
  ThreadPool pool(1);
  ModelConfig config = synthetic_config("tiny");
  config.num_hidden_layers = 2;
  config.moe_intermediate_size = 100;
  const Model model = synthetic_model(config, WeightScheme::kInt4, pool);
  const Weight& w = model.weights.layers[1].moe.down_proj[0];
  ASSERT_EQ(w.in_features, 100);
  for (int64_t n = 0; n < w.out_features; ++n) {
    const std::byte* last = w.data + n * w.row_bytes() + 32;  // columns 64 to 127
    for (int i = 100 - 96; i < 32; ++i) EXPECT_EQ(static_cast<int>(last[i]) >> 4, 8) << i;  // column 96 + i
  }
}

TEST(Synthetic, SameSeedSameBitsForAnyThreads) {
  ThreadPool one(1), three(3);
  ModelConfig config = synthetic_config("tiny");
  config.num_hidden_layers = 2;
  const Model a = synthetic_model(config, WeightScheme::kInt4, one, 7),
              b = synthetic_model(config, WeightScheme::kInt4, three, 7),
              c = synthetic_model(config, WeightScheme::kInt4, one, 8);
  ASSERT_EQ(a.owned_memory[0].size(), b.owned_memory[0].size());
  const auto size = static_cast<size_t>(a.owned_memory[0].size());
  EXPECT_EQ(std::memcmp(a.owned_memory[0].data(), b.owned_memory[0].data(), size), 0);
  EXPECT_NE(std::memcmp(a.owned_memory[0].data(), c.owned_memory[0].data(), size), 0);
}

}  // namespace
}  // namespace hadal::model
