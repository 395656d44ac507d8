#include "hadal/convert/plan.h"

#include <algorithm>
#include <bit>
#include <regex>

#include "hadal/core/error.h"
#include "hadal/core/round.h"
#include "hadal/model/model_size.h"

namespace hadal::convert {
namespace {

using io::DType;
using io::TensorEntry;

constexpr int64_t kF8Block = 128;

int64_t bytes_of(const TensorEntry& tensor) {
  int64_t bytes = io::size_of(tensor.dtype);
  for (const int64_t extent : tensor.shape) bytes *= extent;
  return bytes;
}

// The regular expressions of --keep, each of which must have a match.
class KeepList {
 public:
  explicit KeepList(const std::vector<std::string>& texts) : texts_(texts), matched_(texts.size()) {
    for (const std::string& text : texts) {
      try {
        patterns_.emplace_back(text, std::regex::ECMAScript | std::regex::optimize);
      } catch (const std::regex_error& e) {
        fail(ErrorKind::kUsage, "--keep {}\n  expected  a regular expression\n  found     {}", text,
             e.what());
      }
    }
  }

  bool contains(const std::string& name) {
    bool found = false;
    for (size_t i = 0; i < patterns_.size(); ++i) {
      if (!std::regex_search(name, patterns_[i])) continue;
      matched_[i] = found = true;
    }
    return found;
  }

  void check_all_matched() const {
    for (size_t i = 0; i < texts_.size(); ++i) {
      if (matched_[i]) continue;
      fail(ErrorKind::kUsage, "--keep {}\n  expected  the name of a tensor to match it\n  found     none",
           texts_[i]);
    }
  }

 private:
  const std::vector<std::string>& texts_;
  std::vector<std::regex> patterns_;
  std::vector<bool> matched_;
};

Item copy_of(const io::Checkpoint& checkpoint, const TensorEntry& tensor) {
  Item item;
  item.read.push_back(&tensor);
  if (tensor.dtype == DType::kF8E4M3) item.read.push_back(checkpoint.find(tensor.name + "_scale_inv"));
  for (const TensorEntry* read : item.read) item.written.push_back(*read);
  return item;
}

std::vector<TensorEntry> outputs(const std::string& name, const Weight& w, Format format,
                                 int64_t group_size) {
  const int64_t rows = w.out_features, cols = w.in_features;
  switch (format) {
    case Format::kF8E4M3:
      return {{name, DType::kF8E4M3, {rows, cols}, {}},
              {name + "_scale_inv", DType::kF32, {ceil_div(rows, kF8Block), ceil_div(cols, kF8Block)}, {}}};
    case Format::kI8:
      return {{name, DType::kI8, {rows, cols}, {}}, {name + "_scale", DType::kF32, {rows, 1}, {}}};
    default:
      return {{name, DType::kU8, {rows, bytes_per_row(Format::kI4, cols)}, {}},
              {name + "_scale", DType::kF32, {rows, 1}, {}},
              {name + "_group", DType::kU8, {rows, ceil_div(cols, group_size)}, {}}};
  }
}

Item make_item(const io::Checkpoint& checkpoint, const TensorEntry& tensor, const Weight& w, Format target,
               int64_t group_size) {
  Item item = copy_of(checkpoint, tensor);
  if (target == Format::kBF16 || target == w.format) return item;
  item.source = w;
  item.target = target;
  item.group_size = group_size;
  item.written = outputs(tensor.name, w, target, group_size);
  return item;
}

void check_source(const model::Model& source, const QuantizeOptions& options) {
  const auto& quantization = source.config.quantization;
  if (!quantization) return;
  if (quantization->format == Format::kF8E4M3 && options.format != Format::kF8E4M3) return;
  fail(ErrorKind::kUsage, "{}\n  expected  a checkpoint in BF16, F16, F32{}\n  found     {} weights",
       source.checkpoint.folder(), options.format == Format::kF8E4M3 ? "" : " or FP8",
       to_string(quantization->format));
}

std::string shard_name(size_t number, size_t count) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", number, count);
}

std::vector<Shard> split(std::vector<Item> items, int64_t shard_bytes) {
  std::vector<Shard> shards(1);
  int64_t bytes = 0;
  for (Item& item : items) {
    const int64_t more = item.bytes_written();
    if (bytes + more > shard_bytes && bytes > 0) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += more;
    shards.back().items.push_back(std::move(item));
  }
  for (size_t i = 0; i < shards.size(); ++i) shards[i].file = shard_name(i + 1, shards.size());
  return shards;
}

}  // namespace

int64_t Item::bytes_read() const {
  int64_t bytes = 0;
  for (const TensorEntry* tensor : read) bytes += static_cast<int64_t>(tensor->data.size());
  return bytes;
}

int64_t Item::bytes_written() const {
  int64_t bytes = 0;
  for (const TensorEntry& tensor : written) bytes += bytes_of(tensor);
  return bytes;
}

std::vector<TensorEntry> Shard::tensors() const {
  std::vector<TensorEntry> all;
  for (const Item& item : items) all.insert(all.end(), item.written.begin(), item.written.end());
  const auto alignment = [](const TensorEntry& tensor) {
    const auto bytes = static_cast<uint64_t>(bytes_of(tensor));
    return std::min<int>(std::countr_zero(bytes), std::countr_zero(io::kDataAlignment));
  };
  std::ranges::stable_sort(all, std::greater<>(), alignment);
  return all;
}

int64_t Shard::bytes_read() const {
  int64_t bytes = 0;
  for (const Item& item : items) bytes += item.bytes_read();
  return bytes;
}

std::vector<Shard> make_plan(model::Model& source, const QuantizeOptions& options) {
  check_source(source, options);
  KeepList keep(options.keep);
  model::QuantizationConfig target;
  target.format = options.format;
  std::vector<Item> items;
  model::for_each_param(
      source.config, source.weights,
      [&](const model::ParamSpec& spec, const Weight* map, const model::VectorParam*) {
        const TensorEntry* tensor = source.checkpoint.find(spec.name);
        if (tensor == nullptr) return;  // a copy that the source leaves out
        if (keep.contains(spec.name) || map == nullptr) {
          items.push_back(copy_of(source.checkpoint, *tensor));
        } else {
          items.push_back(make_item(source.checkpoint, *tensor, *map, model::stored_format(target, spec),
                                    options.group_size));
          if (!spec.mtp) items.back().layer = spec.layer < 0 ? source.config.num_hidden_layers : spec.layer;
        }
      });
  keep.check_all_matched();
  return split(std::move(items), options.shard_bytes);
}

}  // namespace hadal::convert
