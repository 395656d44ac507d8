#include "hadal/model/config.h"

#include <cmath>
#include <limits>
#include <set>

#include "hadal/model/changed_config.h"

namespace hadal::model {
namespace {

TEST(Config, UnknownKeysAreRefusedByName) {
  expect_refused("deepseek_v3", R"({"/gated_attention": true})", "gated_attention", "no such key");
  expect_refused("deepseek_v3", R"({"/rope_scaling/short_factor": 1})", "rope_scaling.short_factor",
                 "no such key");
  expect_refused("transformers_5_deepseek_v3", R"({"/rope_parameters/low_freq_factor": 1})",
                 "rope_parameters.low_freq_factor", "no such key");
  expect_refused("deepseek_v3", R"({"/quantization_config/bits": 4})", "quantization_config.bits",
                 "no such key");
}

TEST(Config, HarmlessKeysHaveReasonsAndChangeNothing) {
  std::set<std::string> seen;
  json config = release("deepseek_v3");
  for (const HarmlessKey& harmless : harmless_keys()) {
    EXPECT_TRUE(seen.insert(harmless.key).second) << harmless.key << " is listed twice";
    EXPECT_GT(std::string(harmless.reason).size(), 10U) << harmless.key;
    config[harmless.key] = "anything";
  }
  const ModelConfig c = parse(config);
  EXPECT_EQ(c.hidden_size, 7168);
  EXPECT_EQ(c.eos_token_ids, std::vector<int64_t>{1});
}

TEST(Config, AnotherModelIsRefused) {
  expect_refused("deepseek_v3", R"({"/model_type": "kimi_k2"})", "model_type", "DeepSeek-V2/V3");
  expect_refused("deepseek_v3", R"({"/model_type": "deepseek_v32"})", "model_type", "deepseek_v3");
  expect_refused("deepseek_v3", R"({"/model_type": 3})", "model_type", "a string");
  expect_refused("deepseek_v3", R"({"/model_type": "<absent>"})", "model_type", "no such key");
  expect_refused("deepseek_v3", R"({"/architectures": ["DeepseekV2ForCausalLM"]})", "architectures",
                 "V3ForCausalLM");
  expect_refused("deepseek_v2", R"({"/architectures": "DeepseekV2ForCausalLM"})", "architectures",
                 "V2ForCausalLM");
  EXPECT_EQ(parse(changed("deepseek_v3", R"({"/architectures": null})")).hidden_size, 7168);
}

TEST(Config, SparseAttentionIsRefusedByName) {
  for (const char* key :
       {"index_topk", "index_n_heads", "index_head_dim", "index_topk_freq", "indexer_types"}) {
    expect_refused("deepseek_v3", std::string(R"({"/)") + key + R"(": 64})", key,
                   "DeepSeek-V3.2 is not supported");
  }
}

TEST(Config, KeysWithOneRightValue) {
  expect_refused("deepseek_v3", R"({"/hidden_act": "gelu"})", "hidden_act", "SiLU");
  expect_refused("deepseek_v3", R"({"/attention_bias": true})", "attention_bias", "biases");
  expect_refused("deepseek_v3", R"({"/attention_bias": 0})", "attention_bias", "false");
  expect_refused("deepseek_v2", R"({"/mlp_bias": true})", "mlp_bias", "biases");
  expect_refused("deepseek_v3", R"({"/rope_interleave": false})", "rope_interleave", "interleaved");
  expect_refused("deepseek_v3", R"({"/is_encoder_decoder": true})", "is_encoder_decoder", "decoder-only");
  expect_refused("deepseek_v3", R"({"/add_cross_attention": true})", "add_cross_attention", "decoder-only");
  expect_refused("deepseek_v3", R"({"/cross_attention_hidden_size": 8})", "cross_attention_hidden_size",
                 "null");
  expect_refused("deepseek_v3", R"({"/tie_encoder_decoder": true})", "tie_encoder_decoder", "decoder-only");
  expect_refused("deepseek_v3", R"({"/pruned_heads": {"0": [1]}})", "pruned_heads", "pruned");
  expect_refused("deepseek_v3", R"({"/per_layer_config": {"0": {}}})", "per_layer_config", "of their own");
  expect_refused("deepseek_v3", R"({"/torch_dtype": "int8"})", "torch_dtype", "bfloat16");
  expect_refused("deepseek_v3", R"({"/dtype": 16})", "dtype", "a string");
  for (const char* dtype : {"bfloat16", "float16", "float32", "float8_e4m3fn"}) {
    parse(changed("deepseek_v3", std::string(R"({"/torch_dtype": ")") + dtype + "\"}"));
  }
}

struct IntegerKey {
  const char* key;
  int64_t min, max;
  bool nullable;
};
const IntegerKey kIntegerKeys[] = {
    {"/vocab_size", 1, 1 << 24, false},
    {"/hidden_size", 1, 1 << 18, false},
    {"/intermediate_size", 1, 1 << 18, false},
    {"/moe_intermediate_size", 1, 1 << 18, false},
    {"/num_hidden_layers", 1, 1024, false},
    {"/num_nextn_predict_layers", 0, 64, true},
    {"/max_position_embeddings", 1, 1 << 30, false},
    {"/num_attention_heads", 1, 4096, false},
    {"/q_lora_rank", 1, 65536, true},
    {"/kv_lora_rank", 1, 65536, false},
    {"/qk_nope_head_dim", 1, 4096, false},
    {"/qk_rope_head_dim", 1, 4096, false},
    {"/v_head_dim", 1, 4096, false},
    {"/n_routed_experts", 0, 4096, true},
    {"/n_shared_experts", 0, 256, true},
    {"/num_experts_per_tok", 0, 4096, true},
    {"/first_k_dense_replace", 0, 61, false},
    {"/moe_layer_freq", 1, 1024, false},
    {"/n_group", 1, 4096, true},
    {"/topk_group", 1, 4096, true},
    {"/rope_scaling/original_max_position_embeddings", 1, 1 << 30, false},
    {"/bos_token_id", 0, 129279, true},
    {"/eos_token_id", 0, 129279, true},
};

TEST(Config, IntegersAreIntegersInRange) {
  const json base = release("deepseek_v3");
  for (const IntegerKey& k : kIntegerKeys) {
    const std::string expected = fmt::format("expected  an integer from {} to {}\n", k.min, k.max);
    std::vector<json> bad = {k.min - 1,
                             k.max + 1,
                             1.5,
                             64.0,
                             "64",
                             true,
                             json::object(),
                             std::numeric_limits<uint64_t>::max(),
                             std::numeric_limits<int64_t>::min()};
    if (!k.nullable) bad.push_back(nullptr);
    for (const json& value : bad) {
      json config = base;
      config[json::json_pointer(k.key)] = value;
      EXPECT_NE(refusal(config).find(expected), std::string::npos) << k.key << " = " << value << "\n"
                                                                   << refusal(config);
    }
    json config = base;
    config[json::json_pointer(k.key)] =
        k.max;  // may break a relation between keys, but is not out of range itself
    EXPECT_EQ(refusal(config).find(expected), std::string::npos) << k.key;
  }
}

struct NumberKey {
  const char* key;
  double below, above;
};
const NumberKey kNumberKeys[] = {
    {"/rms_norm_eps", 0.0, 1.1},
    {"/routed_scaling_factor", 0.0, 1.1e6},
    {"/rope_theta", 1.0, 1.1e12},
    {"/rope_scaling/factor", 0.9, 1.1e6},
    {"/rope_scaling/beta_fast", 0.0, 1.1e6},
    {"/rope_scaling/beta_slow", 0.0, 1.1e6},
    {"/rope_scaling/mscale", -0.1, 1.1e3},
    {"/rope_scaling/mscale_all_dim", -0.1, 1.1e3},
};

TEST(Config, NumbersAreNumbersInRange) {
  const json base = release("deepseek_v3");
  for (const NumberKey& k : kNumberKeys) {
    const double nan = std::numeric_limits<double>::quiet_NaN(),
                 inf = std::numeric_limits<double>::infinity();
    for (const json& value :
         {json(k.below), json(k.above), json(nan), json(inf), json("1"), json(true), json(nullptr)}) {
      json config = base;
      config[json::json_pointer(k.key)] = value;
      EXPECT_NE(refusal(config).find("expected  a number "), std::string::npos) << k.key << " = " << value;
    }
  }
  EXPECT_EQ(
      parse(changed("deepseek_v3", R"({"/rope_scaling/factor": 40.0, "/rope_theta": 10000.0})")).rope_theta,
      10000);
}

TEST(Config, BooleansAreBooleans) {
  for (const char* value : {"0", "1", "null", "\"false\""}) {
    for (const std::string key : {"norm_topk_prob", "tie_word_embeddings"}) {
      expect_refused("deepseek_v3", "{\"/" + key + "\": " + value + "}", key, "true or false");
    }
  }
  EXPECT_TRUE(parse(changed("deepseek_v3", R"({"/tie_word_embeddings": true})")).tie_word_embeddings);
}

TEST(Config, ShapesAreRequired) {
  for (const std::string key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "kv_lora_rank",
        "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "intermediate_size"}) {
    expect_refused("deepseek_v3", "{\"/" + key + "\": \"<absent>\"}", key, "found     no such key");
  }
  expect_refused("deepseek_v3", R"({"/rope_scaling/factor": "<absent>"})", "rope_scaling.factor",
                 "no such key");
  expect_refused("deepseek_v3", R"({"/rope_scaling/original_max_position_embeddings": "<absent>"})",
                 "rope_scaling.original_max_position_embeddings", "no such key");
}

TEST(Config, RotaryWidthIsEven) {
  expect_refused("deepseek_v3", R"({"/qk_rope_head_dim": 63})", "qk_rope_head_dim", "even");
}

TEST(Config, DerivedWidthsAgree) {
  expect_refused("deepseek_v3", R"({"/num_key_value_heads": 8})", "num_key_value_heads",
                 "128 = num_attention_heads");
  expect_refused("transformers_5_deepseek_v3", R"({"/head_dim": 128})", "head_dim", "64 = qk_rope_head_dim");
  expect_refused("transformers_5_deepseek_v3", R"({"/qk_head_dim": 191})", "qk_head_dim",
                 "192 = qk_nope_head_dim");
  parse(changed("deepseek_v3", R"({"/num_key_value_heads": null})"));
}

TEST(Config, ExpertRelations) {
  expect_refused("deepseek_v3", R"({"/num_hidden_layers": 1024})", "n_routed_experts",
                 "at most 65536 in all layers");
  expect_refused("deepseek_v3", R"({"/n_group": 7})", "n_group", "a divisor of n_routed_experts = 256");
  expect_refused("deepseek_v3", R"({"/topk_group": 9})", "topk_group", "at most n_group = 8");
  expect_refused("deepseek_v3", R"({"/n_group": 256})", "n_group", "two best experts");
  expect_refused("deepseek_v3", R"({"/num_experts_per_tok": 129})", "num_experts_per_tok",
                 "from 1 to 128, the experts in");
  expect_refused("deepseek_v3", R"({"/num_experts_per_tok": 0})", "num_experts_per_tok", "from 1 to 128");
  expect_refused("deepseek_v3", R"({"/num_experts_per_tok": null})", "num_experts_per_tok", "from 1 to 128");
  expect_refused("deepseek_v2_lite", R"({"/num_experts_per_tok": 65})", "num_experts_per_tok",
                 "from 1 to 64, the experts of");
  // V2's group score is a group's best expert, so one expert per group is enough there.
  parse(changed("deepseek_v2", R"({"/n_group": 160, "/topk_group": 6})"));
  parse(changed("deepseek_v3", R"({"/n_group": 1, "/topk_group": 1, "/num_experts_per_tok": 256})"));
}

TEST(Config, RouterSpellingsAndPairs) {
  EXPECT_EQ(parse(changed("deepseek_v2_lite", R"({"/topk_method": "gready"})")).topk_method,
            TopkMethod::kGreedy);
  expect_refused("deepseek_v2_lite", R"({"/topk_method": "best"})", "topk_method", "group_limited_greedy");
  expect_refused("deepseek_v2_lite", R"({"/scoring_func": "sqrtsoftplus"})", "scoring_func", "softmax");
  expect_refused("deepseek_v2_lite", R"({"/scoring_func": "sigmoid"})", "scoring_func", "no other pair");
  expect_refused("deepseek_v3", R"({"/scoring_func": "softmax"})", "scoring_func", "no other pair");
}

TEST(Config, DenseModel) {
  const ModelConfig c =
      parse(changed("deepseek_v2_lite", R"({"/n_routed_experts": null, "/n_shared_experts": null,
      "/num_experts_per_tok": null, "/n_group": null, "/topk_group": null})"));
  EXPECT_EQ(c.n_routed_experts, 0);
  EXPECT_EQ(c.n_group, 1);
  for (int64_t l = 0; l <= c.num_hidden_layers; ++l) EXPECT_FALSE(c.is_moe_layer(l));
}

TEST(Config, MoeLayerFrequency) {
  const ModelConfig c = parse(changed("deepseek_v3", R"({"/moe_layer_freq": 2, "/num_hidden_layers": 7})"));
  std::vector<int64_t> moe;
  for (int64_t l = 0; l < 8; ++l) {
    if (c.is_moe_layer(l)) moe.push_back(l);
  }
  EXPECT_EQ(moe, (std::vector<int64_t>{4, 6, 7}));  // 7 is the MTP module, whatever its index
}

TEST(Config, RopeTypes) {
  EXPECT_FALSE(parse(changed("deepseek_v3", R"({"/rope_scaling": null})")).rope_scaling);
  EXPECT_FALSE(parse(changed("deepseek_v3", R"({"/rope_scaling": {"type": "default"}})")).rope_scaling);
  EXPECT_FALSE(parse(changed("deepseek_v3", R"({"/rope_scaling": {"rope_type": null}})")).rope_scaling);
  expect_refused("deepseek_v3", R"({"/rope_scaling/type": "linear"})", "rope_scaling.type",
                 "\"yarn\" or \"default\"");
  expect_refused("transformers_5_deepseek_v3",
                 R"({"/rope_parameters/rope_type": "llama3", "/rope_parameters/type": null})",
                 "rope_parameters.rope_type", "yarn");
  expect_refused("transformers_5_deepseek_v3", R"({"/rope_parameters/type": "default"})",
                 "rope_parameters.type", "\"yarn\"");
  expect_refused("deepseek_v3", R"({"/rope_scaling": "yarn"})", "rope_scaling", "a JSON object");
  expect_refused("deepseek_v3", R"({"/rope_scaling/type": "default"})", "rope_scaling.beta_fast",
                 "no such key");
  expect_refused("deepseek_v3", R"({"/rope_parameters": {"rope_type": "default"}})", "rope_parameters",
                 "not both");
  expect_refused("deepseek_v3", R"({"/rope_scaling/beta_slow": 33})", "rope_scaling.beta_slow",
                 "beta_fast = 32");
  expect_refused("deepseek_v3", R"({"/rope_scaling/partial_rotary_factor": 0.5})",
                 "rope_scaling.partial_rotary_factor", "1.0");
  expect_refused("deepseek_v3", R"({"/rope_scaling/attention_factor": 1.2})", "rope_scaling.attention_factor",
                 "mscale");
  expect_refused("deepseek_v3", R"({"/rope_scaling/truncate": false})", "rope_scaling.truncate", "true");
}

TEST(Config, RopeTheta) {
  const char* inside = R"({"/rope_parameters/rope_theta": 50000})";
  EXPECT_EQ(parse(changed("transformers_5_deepseek_v3", inside)).rope_theta, 50000.0);
  EXPECT_EQ(parse(changed("transformers_5_deepseek_v3", R"({"/rope_theta": 10000})")).rope_theta, 10000.0);
  expect_refused("transformers_5_deepseek_v3", R"({"/rope_theta": 50000})", "rope_theta", "10000 inside");
  expect_refused("transformers_5_deepseek_v3", R"({"/rope_parameters/rope_theta": "1"})",
                 "rope_parameters.rope_theta", "a number");
}

TEST(Config, YarnDefaults) {
  const ModelConfig c = parse(changed("deepseek_v3", R"({"/rope_scaling":
      {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}})"));
  EXPECT_EQ(c.rope_scaling->beta_fast, 32.0);
  EXPECT_EQ(c.rope_scaling->beta_slow, 1.0);
  EXPECT_EQ(c.rope_scaling->mscale, 1.0);
  EXPECT_EQ(c.rope_scaling->mscale_all_dim, 0.0);
  EXPECT_DOUBLE_EQ(c.softmax_scale(), 1.0 / std::sqrt(192.0));  // mscale_all_dim 0 leaves the scale alone
}

TEST(Config, SoftmaxScaleWithoutStretchingIsPlain) {
  const ModelConfig c = parse(changed("deepseek_v3", R"({"/rope_scaling/factor": 1})"));
  EXPECT_DOUBLE_EQ(c.softmax_scale(), 1.0 / std::sqrt(192.0));  // YaRN's m is 1 for factors up to 1
}

TEST(Config, Quantization) {
  const ModelConfig c = parse(changed("deepseek_v3", R"({"/quantization_config/weight_block_size": [64, 32],
      "/quantization_config/modules_to_not_convert": ["lm_head"], "/quantization_config/dequantize": false,
      "/quantization_config/fmt": "<absent>", "/quantization_config/scale_fmt": null})"));
  EXPECT_EQ(c.quantization->block_rows, 64);
  EXPECT_EQ(c.quantization->block_cols, 32);
  EXPECT_FALSE(c.quantization->ue8m0);
  EXPECT_FALSE(parse(changed("deepseek_v3", R"({"/quantization_config": null})")).quantization);
  EXPECT_FALSE(
      parse(changed("deepseek_v3_1", R"({"/quantization_config/scale_fmt": "float"})")).quantization->ue8m0);
}

constexpr const char* kInt4 = R"({"/quantization_config":
    {"quant_method": "hadal", "format": "int4", "group_size": 64}})";

TEST(Config, QuantizationOfHadal) {
  const auto quantization = [](const std::string& object) {
    return *parse(changed("deepseek_v3", R"({"/quantization_config": )" + object + "}")).quantization;
  };
  const QuantizationConfig int4 = *parse(changed("deepseek_v3", kInt4)).quantization;
  EXPECT_EQ(int4.format, Format::kI4);
  EXPECT_EQ(int4.group_size, 64);
  const QuantizationConfig int8 = quantization(R"({"quant_method": "hadal", "format": "int8"})");
  EXPECT_EQ(int8.format, Format::kI8);
  EXPECT_EQ(int8.group_size, 0);
  const QuantizationConfig mixed = quantization(R"({"quant_method": "hadal", "format": "int8",
      "weight_block_size": [64, 32], "scale_fmt": "ue8m0"})");
  EXPECT_EQ(mixed.block_rows, 64);
  EXPECT_EQ(mixed.block_cols, 32);
  EXPECT_TRUE(mixed.ue8m0);
}

TEST(Config, WhatHadalDoesNotWriteIsRefused) {
  const auto refused = [](const std::string& key, const std::string& value, const std::string& part) {
    json edited = changed("deepseek_v3", kInt4);
    edited["quantization_config"][key] = json::parse(value);
    const std::string message = refusal(edited);
    EXPECT_NE(message.find("quantization_config." + key), std::string::npos) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  refused("format", "\"int3\"", "\"int8\" or \"int4\"");
  refused("group_size", "48", "32, 64 or 128");
  refused("group_size", "256", "32 to 128");
  refused("group_size", "null", "integer");
  refused("weight_block_size", "[128]", "two integers");
  refused("activation_scheme", "\"dynamic\"", "hadal's formats");
  refused("scale_fmt", "\"ue8m0\"", "no such key");
}

TEST(Config, OtherQuantizationsAreRefused) {
  const auto refused = [](const std::string& key, const std::string& value, const std::string& part) {
    expect_refused("deepseek_v3", "{\"/quantization_config/" + key + "\": " + value + "}",
                   "quantization_config." + key, part);
  };
  refused("quant_method", "\"gptq\"", "block-scaled FP8");
  refused("quant_method", "\"<absent>\"", "no such key");
  refused("fmt", "\"e5m2\"", "e4m3");
  refused("activation_scheme", "\"static\"", "dynamic");
  refused("scale_fmt", "\"mx\"", "ue8m0");
  refused("weight_block_size", "null", "two integers");
  refused("weight_block_size", "[128]", "two integers");
  refused("weight_block_size", "[128, 128, 128]", "two integers");
  refused("weight_block_size", "[128, 0]", "an integer from 1 to 65536");
  refused("weight_block_size", "[128, 65537]", "an integer from 1 to 65536");
  expect_refused("deepseek_v3", R"({"/quantization_config": []})", "quantization_config", "a JSON object");
}

TEST(Config, TokenIds) {
  EXPECT_EQ(parse(changed("deepseek_v3", R"({"/eos_token_id": [1, 2]})")).eos_token_ids,
            (std::vector<int64_t>{1, 2}));
  EXPECT_TRUE(parse(changed("deepseek_v3", R"({"/eos_token_id": null})")).eos_token_ids.empty());
  EXPECT_FALSE(parse(changed("deepseek_v3", R"({"/bos_token_id": null})")).bos_token_id);
  expect_refused("deepseek_v3", R"({"/eos_token_id": [1, 129280]})", "eos_token_id",
                 "an integer from 0 to 129279");
  expect_refused("deepseek_v3", R"({"/eos_token_id": [1, "2"]})", "eos_token_id", "an integer");
  json many = release("deepseek_v3");
  many["eos_token_id"] = std::vector<int>(65, 1);
  EXPECT_NE(refusal(many).find("at most 64 integers"), std::string::npos);
  // The defaults of V2 are ids that a small vocabulary does not have.
  expect_refused("deepseek_v2", R"({"/vocab_size": 100000, "/eos_token_id": "<absent>", "/bos_token_id": 0})",
                 "eos_token_id", "an id below vocab_size = 100000");
  expect_refused("deepseek_v2", R"({"/vocab_size": 100000, "/bos_token_id": "<absent>", "/eos_token_id": 1})",
                 "bos_token_id", "an id below vocab_size = 100000");
}

TEST(Config, MessagesQuoteTheValueAndStayShort) {
  json config = release("deepseek_v3");
  config["hidden_size"] = std::string(5000, 'x') + "\xff";
  EXPECT_LT(refusal(config).size(), 300U);
  EXPECT_NE(refusal(config).find("found     \"xxxx"), std::string::npos);
}

}  // namespace
}  // namespace hadal::model
