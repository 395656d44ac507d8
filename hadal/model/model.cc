#include "hadal/model/model.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <set>
#include <string_view>
#include <utility>

#include "hadal/core/dtype.h"
#include "hadal/core/log.h"
#include "hadal/core/memory.h"
#include "hadal/model/yarn.h"

namespace hadal::model {
namespace {

using io::DType;
using io::TensorEntry;

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
    default:
      break;
  }
  fail(ErrorKind::kCheckpoint,
       "checkpoint {}\n  tensor    {}\n  expected  F32, BF16, F16 or F8_E4M3\n  found     {}\n"
       "  hint      integer formats are not run yet",
       file, tensor.name, io::to_string(tensor.dtype));
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
                     check_shape(spec, *tensor);
                     if (map) {
                       bind_map(spec, *tensor, *map);
                     } else {
                       bind_vector(*tensor, *vector);
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
    map.out_features = spec.shape[0];
    map.in_features = spec.shape[1];
    map.data = aligned(tensor);
    if (map.format != Format::kF8E4M3) return;
    if (spec.kind == ParamKind::kPlain) {
      fail(ErrorKind::kCheckpoint,
           "checkpoint {}\n  tensor    {}\n  expected  BF16, F16 or F32: this tensor is never quantised\n"
           "  found     F8_E4M3",
           file_of(tensor), tensor.name);
    }
    bind_scale(tensor, map);
  }

  void bind_scale(const TensorEntry& tensor, Weight& map) {
    if (!model_.config.quantization) {
      fail(ErrorKind::kConfig,
           "{}/config.json\n  key       quantization_config\n  expected  weight_block_size, because {} is "
           "F8_E4M3\n"
           "  found     no such key",
           model_.checkpoint.folder(), tensor.name);
    }
    const QuantizationConfig& blocks = *model_.config.quantization;
    map.block_rows = blocks.block_rows;
    map.block_cols = blocks.block_cols;
    const std::string name = tensor.name + "_scale_inv";
    const std::vector<int64_t> shape = {(map.out_features + map.block_rows - 1) / map.block_rows,
                                        (map.in_features + map.block_cols - 1) / map.block_cols};
    const TensorEntry* scale = model_.checkpoint.find(name);
    const ParamSpec spec{name, shape, "[rows, columns of the weight over weight_block_size, rounded up]"};
    if (scale == nullptr) missing(spec);
    used_.insert(scale->name);
    check_shape(spec, *scale);
    if (scale->dtype == DType::kF32) {
      map.scale = reinterpret_cast<const float*>(aligned(*scale));
      return;
    }
    model_.owned_scales.push_back(to_floats(*scale));
    map.scale = model_.owned_scales.back().data();
  }

  void bind_vector(const TensorEntry& tensor, VectorParam& vector) { vector.values = to_floats(tensor); }

  // The tensor's numbers as FP32, for the small ones.
  std::vector<float> to_floats(const TensorEntry& tensor) const {
    const Format format = format_of(tensor.dtype, tensor, file_of(tensor));
    if (format == Format::kF8E4M3) {
      fail(ErrorKind::kCheckpoint,
           "checkpoint {}\n  tensor    {}\n  expected  F32, BF16 or F16\n  found     F8_E4M3",
           file_of(tensor), tensor.name);
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

// True if some element is NaN or infinite: all exponent bits set. F8_E4M3 has no infinity, only the code 0x7F is NaN.
template <class Code>
bool has_non_finite(const std::byte* data, int64_t count, Code exponent_mask) {
  uint8_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    Code code;
    std::memcpy(&code, data + i * static_cast<int64_t>(sizeof(Code)), sizeof(Code));
    found |= static_cast<uint8_t>((code & exponent_mask) == exponent_mask);
  }
  return found != 0;
}

bool has_non_finite(DType dtype, const std::byte* data, int64_t count) {
  switch (dtype) {
    case DType::kF32:
      return has_non_finite<uint32_t>(data, count, 0x7f800000U);
    case DType::kBF16:
      return has_non_finite<uint16_t>(data, count, uint16_t{0x7f80U});
    case DType::kF16:
      return has_non_finite<uint16_t>(data, count, uint16_t{0x7c00U});
    case DType::kF8E4M3:
      return has_non_finite<uint8_t>(data, count, uint8_t{0x7fU});
    default:
      return false;  // integers are all numbers
  }
}

std::string index_text(int64_t flat, const std::vector<int64_t>& shape) {
  std::vector<int64_t> index(shape.size());
  for (size_t axis = shape.size(); axis-- > 0;) {
    index[axis] = flat % shape[axis];
    flat /= shape[axis];
  }
  return to_string(index);
}

}  // namespace

void check_finite(const TensorEntry& tensor, const std::string& file, ThreadPool& pool) {
  constexpr int64_t kPiece = int64_t{1} << 20;  // elements; a page fault or two for each thread at a time
  const int64_t size = io::size_of(tensor.dtype), count = static_cast<int64_t>(tensor.data.size()) / size;
  std::atomic<int64_t> bad{count};  // the lowest piece with a bad number
  parallel_for(pool, count, kPiece, [&](int64_t begin, int64_t end) {
    for (int64_t from = begin; from < end; from += kPiece) {
      const int64_t to = std::min(from + kPiece, end);
      if (!has_non_finite(tensor.dtype, tensor.data.data() + from * size, to - from)) continue;
      int64_t lowest = bad;
      while (from < lowest && !bad.compare_exchange_weak(lowest, from)) {
      }
    }
  });
  for (int64_t i = bad; i < count; ++i) {
    if (!has_non_finite(tensor.dtype, tensor.data.data() + i * size, 1)) continue;
    fail(ErrorKind::kCheckpoint,
         "checkpoint {}\n  tensor    {}\n  expected  finite numbers\n  found     NaN or infinity at {}\n"
         "  hint      the file is damaged, or the training that made it had diverged",
         file, tensor.name, index_text(i, tensor.shape));
  }
}

Model bind_model(const std::string& folder) {
  Model model;
  model.config = load_config(folder);
  model.checkpoint = io::Checkpoint::open(folder);
  Binder(model).bind();
  model.inv_freq = inverse_frequencies(model.config);
  model.rotary_magnitude = rotary_magnitude(model.config);
  return model;
}

Model load_model(const std::string& folder, ThreadPool& pool, const LoadProgress& progress) {
  Model model = bind_model(folder);
  const int64_t total = model.checkpoint.total_bytes();
  const std::array needs = {MemoryNeed{"weights", total}};
  check_memory(needs, available_memory_bytes());
  int64_t done = 0;
  for (const auto& file : model.checkpoint.files()) {
    for (const TensorEntry& tensor : file->tensors()) {
      check_finite(tensor, file->path(), pool);
      done += static_cast<int64_t>(tensor.data.size());
      if (progress) progress(done, total);
    }
  }
  return model;
}

}  // namespace hadal::model
