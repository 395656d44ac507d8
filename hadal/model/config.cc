#include "hadal/model/config.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <span>

#include <nlohmann/json.hpp>

#include "hadal/model/json_fields.h"
#include "hadal/model/yarn.h"

namespace hadal::model {
namespace {

// Far beyond any model of the family, and small enough that the bytes of all tensors together fit in an int64_t
// (model_size_test has the largest config) and that a walk over their names ends within seconds.
constexpr IntRange kWidth{1, int64_t{1} << 18};    // hidden_size, intermediate_size, moe_intermediate_size
constexpr IntRange kRank{1, int64_t{1} << 16};     // kv_lora_rank, q_lora_rank
constexpr IntRange kHeadDim{1, int64_t{1} << 12};  // qk_nope_head_dim, qk_rope_head_dim, v_head_dim
constexpr IntRange kHeads{1, int64_t{1} << 12};    // num_attention_heads
constexpr IntRange kLayers{1, int64_t{1} << 10};   // num_hidden_layers, moe_layer_freq
constexpr IntRange kMtpModules{0, 64};             // num_nextn_predict_layers
constexpr IntRange kExperts{1, int64_t{1} << 12};  // routed experts, groups, experts per token
constexpr IntRange kSharedExperts{0, 256};         // n_shared_experts
constexpr int64_t kMaxExpertsOfAllLayers = int64_t{1} << 16;  // V3: 15,872
constexpr IntRange kVocab{1, int64_t{1} << 24};               // vocab_size
constexpr IntRange kContext{1, int64_t{1} << 30};   // max_position_embeddings: positions are int32_t
constexpr IntRange kBlock{1, int64_t{1} << 16};     // quantization_config.weight_block_size
constexpr int64_t kMaxConfigBytes = 16 << 20;       // a modules_to_not_convert list can be long
constexpr NumberRange kRopeTheta{1.0, 1e12, true};  // YaRN divides by its logarithm

// What a key that is absent means: the defaults of configuration_deepseek.py of each model type. They agree with
// transformers' own classes, which leave topk_method, scoring_func and moe_layer_freq out for V3, except for ids
// and where null is the default. Shapes that every config has are required instead.
struct Defaults {
  int64_t moe_intermediate_size, first_k_dense_replace, n_routed_experts, n_shared_experts,
      num_experts_per_tok;
  int64_t n_group, topk_group;
  const char *topk_method, *scoring_func;
  bool norm_topk_prob;
  double routed_scaling_factor;
  int64_t max_position_embeddings, bos_token_id, eos_token_id;
};
constexpr Defaults kV2Defaults{1407, 0, 0, 0, 0, 1, 1, "greedy", "softmax", false, 1.0, 2048, 100000, 100001};
constexpr Defaults kV3Defaults{2048, 3, 256, 1, 8, 8, 4, "noaux_tc", "sigmoid", true, 2.5, 4096, 0, 1};
constexpr int64_t kDefaultQLoraRank = 1536;  // of both

// Keys whose other values would change the computation in a way that no release has and hadal does not compute.
struct FixedKey {
  const char* key;
  const char* value;  // as JSON; null and an absent key are always right
  const char* why;
};
constexpr FixedKey kFixedKeys[] = {
    {"hidden_act", R"("silu")", "every release gates its MLPs with SiLU"},
    {"attention_bias", "false", "no release has biases; they are not implemented"},
    {"mlp_bias", "false", "no release has biases; they are not implemented"},
    {"rope_interleave", "true", "the rotary rows of every release are interleaved pairs"},
    {"is_encoder_decoder", "false", "the family is decoder-only"},
    {"add_cross_attention", "false", "the family is decoder-only"},
    {"cross_attention_hidden_size", "null", "the family is decoder-only"},
    {"tie_encoder_decoder", "false", "the family is decoder-only"},
    {"pruned_heads", "{}", "pruned attention heads are not implemented"},
    {"per_layer_config", "{}", "layers with settings of their own are not implemented"},
};

// The same inside rope_scaling and rope_parameters, for what transformers knows beside DeepSeek's own keys.
constexpr FixedKey kFixedRopeKeys[] = {
    {"partial_rotary_factor", "1.0", "qk_rope_head_dim says how much of a head turns"},
    {"attention_factor", "null", "the family derives it from mscale and mscale_all_dim"},
    {"truncate", "true", "the official code rounds YaRN's correction range"},
};

// The keys of DeepSeek Sparse Attention, which V3.2 adds to a model that otherwise looks like V3.
constexpr const char* kSparseAttentionKeys[] = {"index_topk", "index_n_heads", "index_head_dim",
                                                "index_topk_freq", "indexer_types"};

bool contains(std::initializer_list<std::string_view> values, std::string_view value) {
  return std::ranges::find(values, value) != values.end();
}

void check_identity(JsonFields& in, ModelConfig& c) {
  c.model_type = in.text("model_type");
  if (!contains({"deepseek_v2", "deepseek_v3"}, c.model_type)) {
    in.refuse("model_type", "\"deepseek_v2\" or \"deepseek_v3\"",
              "hadal runs the DeepSeek-V2/V3 family only");
  }
  for (const char* key : kSparseAttentionKeys) {
    if (in.find_value(key)) {
      in.refuse(key, "no such key", "the sparse attention of DeepSeek-V3.2 is not supported");
    }
  }
  const json* architectures = in.find_value("architectures");
  if (!architectures) return;
  const std::string expected =
      c.model_type == "deepseek_v2" ? "DeepseekV2ForCausalLM" : "DeepseekV3ForCausalLM";
  if (*architectures != json::array({expected}))
    in.refuse("architectures", fmt::format("[\"{}\"]", expected));
}

void check_fixed(JsonFields& in, std::span<const FixedKey> keys) {
  for (const FixedKey& fixed : keys) {
    const json* value = in.find_value(fixed.key);
    if (value && *value != json::parse(fixed.value)) in.refuse(fixed.key, fixed.value, fixed.why);
  }
}

void check_dtype(JsonFields& in) {
  for (const char* key : {"torch_dtype", "dtype"}) {
    const auto dtype = in.optional_text(key);
    if (dtype && !contains({"bfloat16", "float16", "float32", "float8_e4m3fn"}, *dtype)) {
      in.refuse(key, "\"bfloat16\", \"float16\", \"float32\" or \"float8_e4m3fn\"");
    }
  }
}

void parse_sizes(JsonFields& in, const Defaults& defaults, ModelConfig& c) {
  c.vocab_size = in.integer("vocab_size", kVocab);
  c.hidden_size = in.integer("hidden_size", kWidth);
  c.intermediate_size = in.integer("intermediate_size", kWidth);
  c.num_hidden_layers = in.integer("num_hidden_layers", kLayers);
  c.num_nextn_predict_layers = in.optional_integer("num_nextn_predict_layers", kMtpModules).value_or(0);
  c.max_position_embeddings =
      in.integer("max_position_embeddings", kContext, defaults.max_position_embeddings);
  c.rms_norm_eps = in.number("rms_norm_eps", {0.0, 1.0, true}, 1e-6);
  c.tie_word_embeddings = in.boolean("tie_word_embeddings", false);
}

// transformers 5 writes widths that follow from others; `key` must then say the same.
void check_derived(JsonFields& in, const std::string& key, int64_t expected, const std::string& formula) {
  const auto found = in.optional_integer(key, {0, kWidth.max});
  if (found && *found != expected) in.refuse(key, fmt::format("{} = {}", expected, formula));
}

void parse_attention(JsonFields& in, ModelConfig& c) {
  c.num_attention_heads = in.integer("num_attention_heads", kHeads);
  c.q_lora_rank = in.find("q_lora_rank") ? in.optional_integer("q_lora_rank", kRank) : kDefaultQLoraRank;
  c.kv_lora_rank = in.integer("kv_lora_rank", kRank);
  c.qk_nope_head_dim = in.integer("qk_nope_head_dim", kHeadDim);
  c.qk_rope_head_dim = in.integer("qk_rope_head_dim", kHeadDim);
  c.v_head_dim = in.integer("v_head_dim", kHeadDim);
  if (c.qk_rope_head_dim % 2 != 0) in.refuse("qk_rope_head_dim", "an even number: RoPE turns pairs");
  check_derived(in, "num_key_value_heads", c.num_attention_heads, "num_attention_heads");
  check_derived(in, "head_dim", c.qk_rope_head_dim, "qk_rope_head_dim");
  check_derived(in, "qk_head_dim", c.qk_head_dim(), "qk_nope_head_dim + qk_rope_head_dim");
}

TopkMethod parse_topk_method(JsonFields& in, const std::string& fallback) {
  const std::string name = in.optional_text("topk_method").value_or(fallback);
  if (contains({"greedy", "gready"}, name))
    return TopkMethod::kGreedy;  // the first uploads spelt it "gready"
  if (name == "group_limited_greedy") return TopkMethod::kGroupLimitedGreedy;
  if (name == "noaux_tc") return TopkMethod::kNoauxTc;
  in.refuse("topk_method", "\"greedy\", \"group_limited_greedy\" or \"noaux_tc\"");
}

ScoringFunc parse_scoring_func(JsonFields& in, const std::string& fallback) {
  const std::string name = in.optional_text("scoring_func").value_or(fallback);
  if (name == "softmax") return ScoringFunc::kSoftmax;
  if (name == "sigmoid") return ScoringFunc::kSigmoid;
  in.refuse("scoring_func", "\"softmax\" or \"sigmoid\"");
}

// An absent key takes the default, an explicit null `none`.
int64_t integer_or_none(JsonFields& in, const std::string& key, IntRange range, int64_t fallback,
                        int64_t none) {
  if (!in.find(key)) return fallback;
  return in.optional_integer(key, range).value_or(none);
}

void parse_experts(JsonFields& in, const Defaults& defaults, ModelConfig& c) {
  const IntRange from_zero{0, kExperts.max};
  c.n_routed_experts = integer_or_none(in, "n_routed_experts", from_zero, defaults.n_routed_experts, 0);
  c.n_shared_experts = integer_or_none(in, "n_shared_experts", kSharedExperts, defaults.n_shared_experts, 0);
  c.num_experts_per_tok =
      integer_or_none(in, "num_experts_per_tok", from_zero, defaults.num_experts_per_tok, 0);
  c.moe_intermediate_size = in.integer("moe_intermediate_size", kWidth, defaults.moe_intermediate_size);
  c.first_k_dense_replace =
      in.integer("first_k_dense_replace", {0, c.num_hidden_layers}, defaults.first_k_dense_replace);
  c.moe_layer_freq = in.integer("moe_layer_freq", kLayers, 1);
  c.n_group = integer_or_none(in, "n_group", kExperts, defaults.n_group, 1);
  c.topk_group = integer_or_none(in, "topk_group", kExperts, defaults.topk_group, 1);
  c.topk_method = parse_topk_method(in, defaults.topk_method);
  c.scoring_func = parse_scoring_func(in, defaults.scoring_func);
  c.norm_topk_prob = in.boolean("norm_topk_prob", defaults.norm_topk_prob);
  c.routed_scaling_factor =
      in.number("routed_scaling_factor", {0.0, 1e6, true}, defaults.routed_scaling_factor);
}

void check_experts(const JsonFields& in, const ModelConfig& c) {
  if (c.n_routed_experts == 0) return;
  if (c.n_routed_experts * (c.num_hidden_layers + c.num_nextn_predict_layers) > kMaxExpertsOfAllLayers) {
    in.refuse("n_routed_experts", fmt::format("at most {} in all layers together", kMaxExpertsOfAllLayers));
  }
  if ((c.topk_method == TopkMethod::kNoauxTc) != (c.scoring_func == ScoringFunc::kSigmoid)) {
    in.refuse("scoring_func", "\"sigmoid\" with topk_method \"noaux_tc\", \"softmax\" with the others",
              "the official code defines no other pair");
  }
  if (c.n_routed_experts % c.n_group != 0) {
    in.refuse("n_group", fmt::format("a divisor of n_routed_experts = {}", c.n_routed_experts));
  }
  if (c.topk_group > c.n_group) in.refuse("topk_group", fmt::format("at most n_group = {}", c.n_group));
  const int64_t group_size = c.n_routed_experts / c.n_group;
  if (c.topk_method == TopkMethod::kNoauxTc && c.n_group > 1 && group_size < 2) {
    in.refuse("n_group", fmt::format("at most n_routed_experts / 2 = {}", c.n_routed_experts / 2),
              "noaux_tc ranks a group by its two best experts");
  }
  const bool grouped = c.topk_method != TopkMethod::kGreedy;
  const int64_t available = grouped ? c.topk_group * group_size : c.n_routed_experts;
  if (c.num_experts_per_tok < 1 || c.num_experts_per_tok > available) {
    in.refuse("num_experts_per_tok", fmt::format("from 1 to {}, the experts {}", available,
                                                 grouped ? "in topk_group groups" : "of a layer"));
  }
}

YarnScaling parse_yarn(JsonFields& in) {
  const YarnScaling defaults;
  YarnScaling yarn;
  yarn.factor = in.number("factor", {1.0, 1e6});
  yarn.original_max_position_embeddings = in.integer("original_max_position_embeddings", kContext);
  yarn.beta_fast = in.number("beta_fast", {0.0, 1e6, true}, defaults.beta_fast);
  yarn.beta_slow = in.number("beta_slow", {0.0, 1e6, true}, defaults.beta_slow);
  if (yarn.beta_slow > yarn.beta_fast)
    in.refuse("beta_slow", fmt::format("at most beta_fast = {}", yarn.beta_fast));
  yarn.mscale = in.number("mscale", {0.0, 1e3}, defaults.mscale);
  yarn.mscale_all_dim = in.number("mscale_all_dim", {0.0, 1e3}, defaults.mscale_all_dim);
  return yarn;
}

// One of the two spellings: rope_scaling, or transformers 5's rope_parameters, which holds rope_theta as well.
void parse_rope_object(const json& object, const std::string& where, const std::string& key, ModelConfig& c,
                       std::optional<double>& theta) {
  JsonFields in(object, where, key);
  const auto rope_type = in.optional_text("rope_type"), old_type = in.optional_text("type");
  if (rope_type && old_type && *rope_type != *old_type)
    in.refuse("type", fmt::format("rope_type's \"{}\"", *rope_type));
  const std::string type = rope_type.value_or(old_type.value_or("default"));
  check_fixed(in, kFixedRopeKeys);
  if (in.find_value("rope_theta")) theta = in.number("rope_theta", kRopeTheta);
  if (type == "yarn") {
    c.rope_scaling = parse_yarn(in);
  } else if (type != "default") {
    in.refuse(rope_type ? "rope_type" : "type", "\"yarn\" or \"default\"",
              "the family uses no other scaling");
  }
  for (const std::string& unread : in.unread())
    in.refuse(unread, "no such key", "it is not a key of this scaling");
}

void parse_rope(JsonFields& in, const std::string& where, ModelConfig& c) {
  const json* scaling = in.find_value("rope_scaling");
  const json* parameters = in.find_value("rope_parameters");
  if (scaling && parameters) in.refuse("rope_parameters", "rope_scaling or rope_parameters, not both");
  std::optional<double> theta;
  if (scaling) parse_rope_object(*scaling, where, "rope_scaling", c, theta);
  if (parameters) parse_rope_object(*parameters, where, "rope_parameters", c, theta);
  c.rope_theta = in.number("rope_theta", kRopeTheta, theta.value_or(10000.0));
  if (theta && *theta != c.rope_theta)
    in.refuse("rope_theta", fmt::format("the {} inside the RoPE object", *theta));
}

void parse_fp8_blocks(JsonFields& in, QuantizationConfig& q) {
  const std::vector<int64_t> block = in.integer_or_list("weight_block_size", kBlock);
  if (block.size() != 2)
    in.refuse("weight_block_size", "two integers: the rows and columns that share a scale");
  q.block_rows = block[0];
  q.block_cols = block[1];
  const std::string scale_fmt = in.optional_text("scale_fmt").value_or("float");
  if (!contains({"ue8m0", "float"}, scale_fmt)) in.refuse("scale_fmt", "\"ue8m0\" or \"float\"");
  q.ue8m0 = scale_fmt == "ue8m0";
}

// DeepSeek's own: docs/formats.md#fp8.
QuantizationConfig parse_fp8(JsonFields& in) {
  if (in.optional_text("fmt").value_or("e4m3") != "e4m3") in.refuse("fmt", "\"e4m3\"");
  if (in.optional_text("activation_scheme").value_or("dynamic") != "dynamic") {
    in.refuse("activation_scheme", "\"dynamic\"");
  }
  QuantizationConfig q;
  parse_fp8_blocks(in, q);
  // Harmless: each tensor says by itself whether it is FP8.
  for (const char* key : {"modules_to_not_convert", "ignored_layers", "dequantize"}) in.find(key);
  return q;
}

// What `hadal quantize` writes: docs/formats.md#quantised.
QuantizationConfig parse_hadal(JsonFields& in) {
  QuantizationConfig q;
  const std::string format = in.text("format");
  if (!contains({"int8", "int4"}, format)) in.refuse("format", "\"int8\" or \"int4\"");
  q.format = format == "int8" ? Format::kI8 : Format::kI4;
  if (q.format == Format::kI4) {
    q.group_size = in.integer("group_size", {32, 128});
    if (!std::has_single_bit(static_cast<uint64_t>(q.group_size))) in.refuse("group_size", "32, 64 or 128");
  }
  // Of weights that were FP8 and were kept.
  if (in.find_value("weight_block_size")) parse_fp8_blocks(in, q);
  return q;
}

QuantizationConfig parse_quantization(const json& object, const std::string& where) {
  JsonFields in(object, where, "quantization_config");
  const std::string method = in.text("quant_method");
  if (!contains({"fp8", "hadal"}, method)) {
    in.refuse(
        "quant_method", "\"fp8\" or \"hadal\"",
        "hadal reads BF16, FP16, FP32, DeepSeek's block-scaled FP8 weights and what hadal quantize writes");
  }
  const QuantizationConfig q = method == "fp8" ? parse_fp8(in) : parse_hadal(in);
  for (const std::string& key : in.unread()) {
    in.refuse(key, "no such key",
              method == "fp8" ? "it is not a key of DeepSeek's FP8" : "it is not a key of hadal's formats");
  }
  return q;
}

void parse_token_ids(JsonFields& in, const Defaults& defaults, ModelConfig& c) {
  const IntRange ids{0, c.vocab_size - 1};
  c.bos_token_id = in.find("bos_token_id") ? in.optional_integer("bos_token_id", ids) : defaults.bos_token_id;
  c.eos_token_ids = {defaults.eos_token_id};
  if (in.find("eos_token_id")) c.eos_token_ids = in.integer_or_list("eos_token_id", ids);
  for (const int64_t id : c.eos_token_ids) {
    if (id > ids.max) in.refuse("eos_token_id", fmt::format("an id below vocab_size = {}", c.vocab_size));
  }
  if (c.bos_token_id.value_or(0) > ids.max) {
    in.refuse("bos_token_id", fmt::format("an id below vocab_size = {}", c.vocab_size));
  }
}

}  // namespace

bool ModelConfig::is_moe_layer(int64_t layer) const {
  if (n_routed_experts == 0) return false;
  if (layer >= num_hidden_layers) return true;
  return layer >= first_k_dense_replace && layer % moe_layer_freq == 0;
}

double ModelConfig::softmax_scale() const {
  const double scale = 1.0 / std::sqrt(static_cast<double>(qk_head_dim()));
  if (!rope_scaling) return scale;
  const double m = yarn_mscale(rope_scaling->factor, rope_scaling->mscale_all_dim);  // 1 for mscale_all_dim 0
  return scale * m * m;
}

ModelConfig parse_config(const json& config, const std::string& where) {
  JsonFields in(config, where);
  ModelConfig c;
  check_identity(in, c);
  const Defaults& defaults = c.model_type == "deepseek_v2" ? kV2Defaults : kV3Defaults;
  check_fixed(in, kFixedKeys);
  check_dtype(in);
  parse_sizes(in, defaults, c);
  parse_attention(in, c);
  parse_experts(in, defaults, c);
  check_experts(in, c);
  parse_rope(in, where, c);
  if (const json* quantization = in.find_value("quantization_config")) {
    c.quantization = parse_quantization(*quantization, where);
  }
  parse_token_ids(in, defaults, c);
  for (const HarmlessKey& harmless : harmless_keys()) in.find(harmless.key);
  for (const std::string& key : in.unread()) {
    in.refuse(key, "no such key", "it may change the computation, and hadal does not know how");
  }
  return c;
}

ModelConfig load_config(const std::string& path) {
  const bool is_folder = std::filesystem::is_directory(path);
  const std::string file = is_folder ? (std::filesystem::path(path) / "config.json").string() : path;
  return parse_config(read_json_file(file, kMaxConfigBytes, ErrorKind::kConfig), file);
}

}  // namespace hadal::model
