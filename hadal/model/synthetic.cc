#include "hadal/model/synthetic.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "hadal/core/memory.h"
#include "hadal/core/rng.h"
#include "hadal/core/round.h"
#include "hadal/model/yarn.h"

namespace hadal::model {
namespace {

/// Codes of a format: eight random bytes, each `bytes & keep | set`.
struct CodePattern {
  uint64_t keep = 0, set = 0;
  double rms = 1;  // of the values that come out, before any scale
};

constexpr double kStd = 0.02;  // initializer_range of the releases
// Embeddings are large beside what random layers add to them: otherwise all tokens' hidden states grow alike, layer by
// layer, and all choose the same experts, which no trained model does.
constexpr CodePattern kEmbeddingPattern = {0x80ff80ff80ff80ffU, 0x4100410041004100U,
                                           17.4};  // 8 <= |x| < 32, BF16
constexpr int64_t kPiece = int64_t{1} << 20;
constexpr int64_t kAlignment = 64;

ModelConfig v2_lite() {
  ModelConfig c;
  c.model_type = "deepseek_v2";
  c.vocab_size = 102400;
  c.hidden_size = 2048;
  c.intermediate_size = 10944;
  c.moe_intermediate_size = 1408;
  c.num_hidden_layers = 27;
  c.first_k_dense_replace = 1;
  c.num_attention_heads = 16;
  c.kv_lora_rank = 512;
  c.qk_nope_head_dim = 128;
  c.qk_rope_head_dim = 64;
  c.v_head_dim = 128;
  c.n_routed_experts = 64;
  c.n_shared_experts = 2;
  c.num_experts_per_tok = 6;
  c.rope_scaling = YarnScaling{.factor = 40, .mscale = 0.707, .mscale_all_dim = 0.707};
  c.max_position_embeddings = 163840;
  return c;
}

ModelConfig v3(int64_t layers) {
  ModelConfig c;
  c.model_type = "deepseek_v3";
  c.vocab_size = 129280;
  c.hidden_size = 7168;
  c.intermediate_size = 18432;
  c.moe_intermediate_size = 2048;
  c.num_hidden_layers = layers;
  c.first_k_dense_replace = std::min<int64_t>(3, layers - 1);
  c.num_attention_heads = 128;
  c.q_lora_rank = 1536;
  c.kv_lora_rank = 512;
  c.qk_nope_head_dim = 128;
  c.qk_rope_head_dim = 64;
  c.v_head_dim = 128;
  c.n_routed_experts = 256;
  c.n_shared_experts = 1;
  c.num_experts_per_tok = 8;
  c.n_group = 8;
  c.topk_group = 4;
  c.topk_method = TopkMethod::kNoauxTc;
  c.scoring_func = ScoringFunc::kSigmoid;
  c.norm_topk_prob = true;
  c.routed_scaling_factor = 2.5;
  c.rope_scaling = YarnScaling{.factor = 40, .mscale = 1, .mscale_all_dim = 1};
  c.max_position_embeddings = 163840;
  return c;
}

ModelConfig tiny() {
  ModelConfig c = v2_lite();
  c.vocab_size = 4096;
  c.hidden_size = 256;
  c.intermediate_size = 512;
  c.moe_intermediate_size = 128;
  c.num_hidden_layers = 26;
  c.num_attention_heads = 4;
  c.kv_lora_rank = 128;
  c.qk_nope_head_dim = 32;
  c.qk_rope_head_dim = 32;
  c.v_head_dim = 32;
  c.n_routed_experts = 16;
  c.n_shared_experts = 1;
  c.num_experts_per_tok = 2;
  return c;
}

// BF16 and E4M3 get random signs and mantissas, and one of two neighbouring exponents.
CodePattern pattern_of(Format format) {
  switch (format) {
    case Format::kBF16:
      return {0x80ff80ff80ff80ffU, 0x3c003c003c003c00U, 0.0189};  // 2^-7 <= |x| < 2^-5
    case Format::kF8E4M3:
      return {0x8f8f8f8f8f8f8f8fU, 0x3030303030303030U, 1.21};  // 1/2 <= |x| < 2
    case Format::kI8:
      return {~uint64_t{0}, 0x0101010101010101U, 73.9};  // odd, so never -128
    case Format::kI4:
      return {~uint64_t{0}, 0, 4.64 * 11.7};  // (code - 8) * s with s from 8 to 15
    default:
      break;
  }
  HADAL_CHECK(false, "no random weights of {}", to_string(format));
}

void fill(ThreadPool& pool, std::byte* data, int64_t bytes, uint64_t key, uint64_t keep, uint64_t set) {
  parallel_for(pool, bytes, kPiece, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += 8) {
      const uint64_t code = (mix64(key + static_cast<uint64_t>(i / 8) * 0x9e3779b97f4a7c15U) & keep) | set;
      std::memcpy(data + i, &code, static_cast<size_t>(std::min<int64_t>(8, end - i)));
    }
  });
}

int64_t aligned(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Codes, then scales, then group codes, each at a cache line.
struct Layout {
  int64_t codes = 0, scales = 0, groups = 0;  // bytes
  explicit Layout(const Weight& w) : codes(w.bytes()) {
    if (w.group > 0) groups = w.out_features * ceil_div(w.in_features, w.group);
    scales = stored_bytes(w) - codes - groups;
  }
  int64_t total() const { return aligned(codes) + aligned(scales) + aligned(groups); }
};

// What lies beyond K in the last block of a row of I4 has the code z = 8.
void clear_padding(std::byte* data, const Weight& w) {
  const int64_t tail = w.in_features % kI4Block;
  if (w.format != Format::kI4 || tail == 0) return;
  for (int64_t n = 0; n < w.out_features; ++n) {
    std::byte* const block = data + (n + 1) * w.row_bytes() - kI4Block / 2;
    for (int64_t i = 0; i < kI4Block / 2; ++i) {
      if (i >= tail) block[i] = (block[i] & std::byte{0xf0}) | std::byte{0x08};
      if (i + kI4Block / 2 >= tail) block[i] = (block[i] & std::byte{0x0f}) | std::byte{0x80};
    }
  }
}

// Gives the shape `w` its numbers at `at`, which holds Layout(w).total() bytes.
void make_numbers(ThreadPool& pool, std::byte* at, uint64_t key, CodePattern pattern, Weight& w) {
  const Layout layout(w);
  fill(pool, at, layout.codes, mix64(key), pattern.keep, pattern.set);
  clear_padding(at, w);
  w.data = at;
  if (layout.scales == 0) return;
  auto* const scale = reinterpret_cast<float*>(at + aligned(layout.codes));
  for (int64_t i = 0; i < layout.scales / static_cast<int64_t>(sizeof(float)); ++i) {
    const double spread =
        0.75 + 0.5 * static_cast<double>(mix64(key + static_cast<uint64_t>(i)) >> 40) * 0x1p-24;
    scale[i] = static_cast<float>(kStd / pattern.rms * spread);
  }
  w.scale = scale;
  if (layout.groups == 0) return;
  std::byte* const groups = at + aligned(layout.codes) + aligned(layout.scales);
  fill(pool, groups, layout.groups, mix64(key + 1), 0x0707070707070707U, 0x8888888888888888U);  // z = 8 | s
  w.group_code = reinterpret_cast<const uint8_t*>(groups);
}

}  // namespace

ModelConfig synthetic_config(const std::string& name) {
  constexpr const char* kV3 = "v3-layers=";
  constexpr int64_t kV3Layers = 61;
  if (name == "v2-lite") return v2_lite();
  if (name == "tiny") return tiny();
  if (name.starts_with(kV3)) {
    const std::string digits = name.substr(std::strlen(kV3));
    const bool number =
        !digits.empty() && digits.size() <= 2 && digits.find_first_not_of("0123456789") == std::string::npos;
    const int64_t layers = number ? std::stoll(digits) : 0;
    if (layers >= 1 && layers <= kV3Layers) return v3(layers);
  }
  fail(ErrorKind::kUsage,
       "--synthetic\n  expected  v2-lite, v3-layers=N with N from 1 to {}, or tiny\n  found     {}",
       kV3Layers, name);
}

Model synthetic_model(ModelConfig config, WeightScheme scheme, ThreadPool& pool, uint64_t seed) {
  Model model;
  config.num_nextn_predict_layers = 0;
  config.quantization = quantization_of(scheme);
  model.config = config;
  model.inv_freq = inverse_frequencies(config);
  model.rotary_magnitude = rotary_magnitude(config);

  int64_t bytes = 0;
  for_each_param(config, [&](const ParamSpec& spec) {
    if (spec.kind != ParamKind::kVector) bytes += Layout(weight_shape(spec, scheme)).total();
  });
  const std::array needs = {MemoryNeed{"weights", bytes}};
  check_memory(needs, available_memory_bytes());
  std::byte* at = model.owned_memory.emplace_back(bytes).data();
  uint64_t key = mix64(seed);
  for_each_param(config, model.weights, [&](const ParamSpec& spec, Weight* map, VectorParam* vector) {
    key = mix64(key + 1);
    if (map == nullptr) {
      vector->values.assign(static_cast<size_t>(spec.shape[0]), spec.name.ends_with("_bias") ? 0.0F : 1.0F);
      return;
    }
    *map = weight_shape(spec, scheme);
    map->name = model.owned_names.emplace_back(spec.name);
    const bool embedding = map == &model.weights.embed_tokens;
    make_numbers(pool, at, key, embedding ? kEmbeddingPattern : pattern_of(map->format), *map);
    at += Layout(*map).total();
  });
  if (config.tie_word_embeddings) model.weights.lm_head = model.weights.embed_tokens;
  return model;
}

}  // namespace hadal::model
