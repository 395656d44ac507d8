#include "hadal/model/bind.h"

#include <cstring>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "hadal/core/dtype.h"
#include "hadal/core/log.h"
#include "hadal/core/round.h"

namespace hadal::model {
namespace {

using io::DType;
using io::TensorEntry;

constexpr int64_t kI8Group = 128;  // columns, where INT8 has more than one factor for a row

// Tensors that some checkpoints carry and the forward pass does not read.
bool is_ignored(const ModelConfig& config, std::string_view name) {
  if (name.ends_with(".self_attn.rotary_emb.inv_freq")) return true;  // a buffer; made from the config here
  return config.tie_word_embeddings && name == "lm_head.weight";      // tied: the embedding is the head
}

Format format_of(DType dtype, const TensorEntry& tensor, const std::string& file) {
  switch (dtype) {
    case DType::kF32:
      return Format::kF32;
    case DType::kBF16:
      return Format::kBF16;
    case DType::kF16:
      return Format::kF16;
    case DType::kF8E4M3:
      return Format::kF8E4M3;
    case DType::kI8:
      return Format::kI8;
    case DType::kU8:
      return Format::kI4;  // two codes in a byte
    default:
      break;
  }
  fail(ErrorKind::kCheckpoint,
       "checkpoint {}\n  tensor    {}\n  expected  F32, BF16, F16, F8_E4M3, I8 or U8\n  found     {}", file,
       tensor.name, io::to_string(tensor.dtype));
}

// As the tensor is stored: INT4 has two columns in a byte, in whole blocks.
ParamSpec stored_spec(const ParamSpec& spec, Format format) {
  ParamSpec stored = spec;
  if (format != Format::kI4) return stored;
  stored.shape[1] = bytes_per_row(format, spec.shape[1]);
  stored.formula =
      fmt::format("{}, its columns in blocks of {} in {} bytes", spec.formula, kI4Block, kI4Block / 2);
  return stored;
}

// Binds the tensors of one checkpoint to the places of one Weights.
class Binder {
 public:
  explicit Binder(Model& model) : model_(model) {}

  void bind() {
    drop_absent_mtp();
    for_each_param(model_.config, model_.weights,
                   [this](const ParamSpec& spec, Weight* map, VectorParam* vector) {
                     const TensorEntry* tensor = model_.checkpoint.find(spec.name);
                     if (tensor == nullptr) {
                       if (!spec.duplicate) missing(spec);
                       return;
                     }
                     used_.insert(tensor->name);
                     if (map) {
                       bind_map(spec, *tensor, *map);
                     } else {
                       bind_vector(spec, *tensor, *vector);
                     }
                   });
    share_duplicates();
    refuse_unknown();
  }

 private:
  // transformers drops the MTP layers when it saves a model and leaves the key in the config: then there are none.
  void drop_absent_mtp() {
    ModelConfig& config = model_.config;
    if (config.num_nextn_predict_layers == 0) return;
    bool any = false;
    for_each_param(config, [&](const ParamSpec& spec) {
      any = any || (spec.mtp && model_.checkpoint.find(spec.name) != nullptr);
    });
    if (any) return;
    log_info("{}: config.json has num_nextn_predict_layers {}, the weights have no such layer: left out",
             model_.checkpoint.folder(), config.num_nextn_predict_layers);
    config.num_nextn_predict_layers = 0;
  }

  [[noreturn]] void missing(const ParamSpec& spec) const {
    fail(ErrorKind::kCheckpoint,
         "checkpoint {}\n  tensor    {}\n  expected  {} = {}\n  found     no tensor of this name",
         model_.checkpoint.folder(), spec.name, to_string(spec.shape), spec.formula);
  }

  // checkpoint /models/v3/model-00007-of-000163.safetensors
  //   tensor    model.layers.3.self_attn.kv_b_proj.weight
  //   expected  [32768, 512] = [num_attention_heads * (qk_nope_head_dim + v_head_dim), kv_lora_rank]
  //   found     [16384, 512]
  //   hint      config.json and the weights seem to come from two different models
  void check_shape(const ParamSpec& spec, const TensorEntry& tensor) const {
    if (tensor.shape == spec.shape) return;
    fail(ErrorKind::kCheckpoint,
         "checkpoint {}\n  tensor    {}\n  expected  {} = {}\n  found     {}\n"
         "  hint      config.json and the weights seem to come from two different models",
         file_of(tensor), tensor.name, to_string(spec.shape), spec.formula, to_string(tensor.shape));
  }

  void bind_map(const ParamSpec& spec, const TensorEntry& tensor, Weight& map) {
    map.name = tensor.name;
    map.format = format_of(tensor.dtype, tensor, file_of(tensor));
    check_kind(spec, map.format, tensor);
    check_shape(stored_spec(spec, map.format), tensor);
    map.out_features = spec.shape[0];
    map.in_features = spec.shape[1];
    map.data = aligned(tensor);
    if (map.format == Format::kF8E4M3) bind_block_scale(tensor, map);
    if (map.format == Format::kI8) bind_row_scale(tensor, map);
    if (map.format == Format::kI4) bind_groups(tensor, map);
  }

  void check_kind(const ParamSpec& spec, Format format, const TensorEntry& tensor) const {
    const bool is_quantised = format == Format::kF8E4M3 || format == Format::kI8 || format == Format::kI4;
    if (!is_quantised || spec.kind == ParamKind::kLinear) return;
    if (spec.kind == ParamKind::kHead && format != Format::kF8E4M3) return;
    fail(ErrorKind::kCheckpoint,
         "checkpoint {}\n  tensor    {}\n  expected  BF16, F16{} F32: this tensor is never {}quantised\n"
         "  found     {}",
         file_of(tensor), tensor.name, spec.kind == ParamKind::kHead ? ", I8, U8 or" : " or",
         spec.kind == ParamKind::kHead ? "FP8-" : "", io::to_string(tensor.dtype));
  }

  // FP8 is read by quant_method "fp8", and by "hadal" where some weights were kept; the integers by the latter only.
  const QuantizationConfig& quantization(const TensorEntry& tensor, const char* expected) const {
    const auto& found = model_.config.quantization;
    const bool is_fp8 = tensor.dtype == DType::kF8E4M3;
    if (found && (is_fp8 || found->format != Format::kF8E4M3)) return *found;
    fail(ErrorKind::kConfig,
         "{}/config.json\n  key       quantization_config\n  expected  {}, because {} is {}\n  found     {}",
         model_.checkpoint.folder(), expected, tensor.name, io::to_string(tensor.dtype),
         found ? "quant_method \"fp8\"" : "no such key");
  }

  // The tensor that belongs to a quantised one, which must be there with the shape and, unless it is FP8's scale, the type.
  const TensorEntry& companion(const TensorEntry& tensor, const char* suffix, std::vector<int64_t> shape,
                               const char* formula) {
    const ParamSpec spec{tensor.name + suffix, std::move(shape), formula};
    const TensorEntry* found = model_.checkpoint.find(spec.name);
    if (found == nullptr) missing(spec);
    used_.insert(found->name);
    check_shape(spec, *found);
    return *found;
  }

  void check_dtype(const TensorEntry& tensor, DType expected) const {
    if (tensor.dtype == expected) return;
    fail(ErrorKind::kCheckpoint, "checkpoint {}\n  tensor    {}\n  expected  {}\n  found     {}",
         file_of(tensor), tensor.name, io::to_string(expected), io::to_string(tensor.dtype));
  }

  // FP8: a factor for each block.
  void bind_block_scale(const TensorEntry& tensor, Weight& map) {
    const QuantizationConfig& blocks = quantization(tensor, "weight_block_size");
    map.block_rows = blocks.block_rows;
    map.block_cols = blocks.block_cols;
    const TensorEntry& scale =
        companion(tensor, "_scale_inv",
                  {ceil_div(map.out_features, map.block_rows), ceil_div(map.in_features, map.block_cols)},
                  "[rows, columns of the weight over weight_block_size, rounded up]");
    if (scale.dtype == DType::kF32) {
      map.scale = reinterpret_cast<const float*>(aligned(scale));
      return;
    }
    model_.owned_scales.push_back(to_floats(scale));
    map.scale = model_.owned_scales.back().data();
  }

  // INT8: a factor for each row, or for each kI8Group columns of a row.
  void bind_row_scale(const TensorEntry& tensor, Weight& map) {
    quantization(tensor, "quant_method \"hadal\"");
    const TensorEntry* scale = model_.checkpoint.find(tensor.name + "_scale");
    const bool grouped = scale && scale->shape.size() == 2 && scale->shape[1] != 1;
    map.block_rows = 1;
    map.block_cols = grouped ? kI8Group : map.in_features;
    const TensorEntry& found =
        companion(tensor, "_scale", {map.out_features, ceil_div(map.in_features, map.block_cols)},
                  grouped ? "[rows, columns of the weight / 128, rounded up]" : "[rows of the weight, 1]");
    check_dtype(found, DType::kF32);
    map.scale = reinterpret_cast<const float*>(aligned(found));
  }

  // INT4: a factor for each row, and a small integer and a zero point for each group of it.
  void bind_groups(const TensorEntry& tensor, Weight& map) {
    map.group = quantization(tensor, "quant_method \"hadal\" with a group_size").group_size;
    if (map.group == 0) {
      fail(ErrorKind::kConfig,
           "{}/config.json\n  key       quantization_config.group_size\n  expected  32, 64 or 128, because "
           "{} is U8\n"
           "  found     no such key",
           model_.checkpoint.folder(), tensor.name);
    }
    map.block_rows = 1;
    map.block_cols = map.in_features;
    const TensorEntry& scale = companion(tensor, "_scale", {map.out_features, 1}, "[rows of the weight, 1]");
    const TensorEntry& codes =
        companion(tensor, "_group", {map.out_features, ceil_div(map.in_features, map.group)},
                  "[rows, columns of the weight / group_size, rounded up]");
    check_dtype(scale, DType::kF32);
    check_dtype(codes, DType::kU8);
    map.scale = reinterpret_cast<const float*>(aligned(scale));
    map.group_code = reinterpret_cast<const uint8_t*>(codes.data.data());
  }

  void bind_vector(const ParamSpec& spec, const TensorEntry& tensor, VectorParam& vector) {
    check_shape(spec, tensor);
    vector.values = to_floats(tensor);
  }

  // The tensor's numbers as FP32, for the small ones.
  std::vector<float> to_floats(const TensorEntry& tensor) const {
    const Format format = format_of(tensor.dtype, tensor, file_of(tensor));
    if (format != Format::kF32 && format != Format::kBF16 && format != Format::kF16) {
      fail(ErrorKind::kCheckpoint,
           "checkpoint {}\n  tensor    {}\n  expected  F32, BF16 or F16\n  found     {}", file_of(tensor),
           tensor.name, io::to_string(tensor.dtype));
    }
    const int64_t size = bytes_per_element(format);
    std::vector<float> values(tensor.data.size() / static_cast<size_t>(size));
    for (size_t i = 0; i < values.size(); ++i) {
      const std::byte* at = tensor.data.data() + static_cast<int64_t>(i) * size;
      if (format == Format::kF32) {
        std::memcpy(&values[i], at, sizeof(float));
        continue;
      }
      uint16_t bits = 0;
      std::memcpy(&bits, at, sizeof bits);
      values[i] = format == Format::kBF16 ? to_float(bf16{bits}) : to_float(f16{bits});
    }
    return values;
  }

  // The tensor in the mapping, or a copy if it lies at an address its type does not allow (after an odd number of bytes).
  const std::byte* aligned(const TensorEntry& tensor) {
    if (reinterpret_cast<uintptr_t>(tensor.data.data()) % static_cast<uintptr_t>(io::size_of(tensor.dtype)) ==
        0) {
      return tensor.data.data();
    }
    model_.owned_bytes.emplace_back(tensor.data.begin(), tensor.data.end());
    return model_.owned_bytes.back().data();
  }

  void share_duplicates() {
    Weights& w = model_.weights;
    if (model_.config.tie_word_embeddings) w.lm_head = w.embed_tokens;
    for (MtpWeights& mtp : w.mtp) {
      if (mtp.embed_tokens.empty()) mtp.embed_tokens = w.embed_tokens;
      if (mtp.shared_head.empty()) mtp.shared_head = w.lm_head;
    }
  }

  void refuse_unknown() const {
    for (const TensorEntry* tensor : model_.checkpoint.tensors()) {
      if (used_.contains(tensor->name) || is_ignored(model_.config, tensor->name)) continue;
      fail(ErrorKind::kCheckpoint,
           "checkpoint {}\n  tensor    {}\n  expected  only tensors that config.json implies\n  found     {} "
           "{}\n"
           "  hint      config.json and the weights seem to come from two different models",
           file_of(*tensor), tensor->name, io::to_string(tensor->dtype), to_string(tensor->shape));
    }
  }

  const std::string& file_of(const TensorEntry& tensor) const {
    return model_.checkpoint.file_of(tensor.name);
  }

  Model& model_;
  std::set<std::string_view> used_;
};

}  // namespace

void bind_weights(Model& model) {
  Binder(model).bind();
}

}  // namespace hadal::model
