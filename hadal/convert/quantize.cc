#include "hadal/convert/quantize.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>

#include <nlohmann/json.hpp>

#include "hadal/core/error.h"
#include "hadal/core/json.h"
#include "hadal/core/memory.h"
#include "hadal/io/atomic_file.h"
#include "hadal/io/sha256.h"

namespace hadal::convert {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRecord = "quantize.json";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr int64_t kMaxJsonBytes = int64_t{16} << 20;

// What a checkpoint has beside weights and config.json, where the source has it.
constexpr const char* kOtherFiles[] = {
    "generation_config.json", "tokenizer.json",  "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json",      "tokenizer.model", "chat_template.jinja",   "configuration_deepseek.py",
    "modeling_deepseek.py",   "LICENSE",         "LICENSE-MODEL",         "LICENSE-CODE"};

void write_text(const fs::path& path, const std::string& text) {
  io::AtomicFile file(path.string());
  file.append(std::as_bytes(std::span(text)));
  file.commit();
}

// Header and first tensors of each file, and the config: enough to tell one training's checkpoint from another's.
std::string fingerprint(const model::Model& source) {
  constexpr size_t kHead = size_t{4} << 20;
  std::string all = read_text_file((fs::path(source.checkpoint.folder()) / "config.json").string(),
                                   kMaxJsonBytes, ErrorKind::kConfig);
  for (const auto& file : source.checkpoint.files()) {
    const auto bytes = file->bytes();
    all += fmt::format("\n{} {}", bytes.size(), io::sha256_hex(bytes.first(std::min(bytes.size(), kHead))));
  }
  return io::sha256_hex(std::as_bytes(std::span(all)));
}

std::string format_name(Format format) {
  if (format == Format::kI4) return "int4";
  return format == Format::kI8 ? "int8" : "fp8";
}

std::string sha256_of(const std::vector<std::vector<int32_t>>& texts) {
  std::string all;
  for (const auto& text : texts) all += io::sha256_hex(std::as_bytes(std::span(text)));
  return io::sha256_hex(std::as_bytes(std::span(all)));
}

std::string make_record(const model::Model& source, const QuantizeOptions& options) {
  json record{{"format", format_name(options.format)}};
  if (options.format == Format::kI4) record["group_size"] = options.group_size;
  record["keep"] = options.keep;
  record["shard_bytes"] = options.shard_bytes;
  if (options.calibration) record["calibration"] = sha256_of(*options.calibration);
  record["source"] = fingerprint(source);
  return record.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

// A new or empty folder, or one that an earlier run with the same record has begun to fill.
void prepare_folder(const fs::path& in, const fs::path& out, const std::string& record) {
  std::error_code ignored;
  if (fs::equivalent(in, out, ignored)) {
    fail(ErrorKind::kUsage, "{}\n  expected  another folder than the source\n  found     the same",
         out.string());
  }
  fs::create_directories(out, ignored);
  if (!fs::is_directory(out)) fail(ErrorKind::kIo, "{}\n  cannot be made a folder", out.string());
  const fs::path path = out / kRecord;
  if (!fs::exists(path)) {
    if (!fs::is_empty(out)) {
      fail(ErrorKind::kUsage,
           "{}\n  expected  a folder that is new, empty or half done by an earlier run\n  found     other "
           "files",
           out.string());
    }
    return write_text(path, record);
  }
  const std::string found = read_text_file(path.string(), kMaxJsonBytes, ErrorKind::kUsage);
  if (found != record) {
    fail(ErrorKind::kUsage,
         "{}\n  expected  the options and the source of the run that began this folder\n  found     others: "
         "now\n{}"
         "  hint      another folder, or remove this one",
         path.string(), record);
  }
  for (const auto& entry : fs::directory_iterator(out)) {  // what a run that was killed left behind
    if (entry.path().filename().string().find(io::kTemporaryMark) != std::string::npos)
      fs::remove(entry.path());
  }
}

// A file has its name only when it is whole; so it has to be exactly what the plan says.
bool is_done(const Shard& shard, const fs::path& path) {
  if (!fs::exists(path)) return false;
  const io::SafetensorsFile file(path.string());
  const auto same = [](const io::TensorEntry& a, const io::TensorEntry& b) {
    return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape;
  };
  if (std::ranges::equal(file.tensors(), shard.tensors(), same)) return true;
  fail(ErrorKind::kCheckpoint,
       "{}\n  expected  the tensors that this run would write\n  found     others\n"
       "  hint      remove this file",
       path.string());
}

void check_disk(const std::vector<Shard>& plan, const fs::path& out) {
  int64_t needed = 0;
  for (const Shard& shard : plan) {
    if (fs::exists(out / shard.file)) continue;
    for (const Item& item : shard.items) needed += item.bytes_written();
  }
  const auto available = static_cast<int64_t>(fs::space(out).available);
  if (needed <= available) return;
  fail(ErrorKind::kCapacity, "{}\n  expected  {} free on the disk\n  found     {}", out.string(),
       format_bytes(needed), format_bytes(available));
}

std::string make_index(const std::vector<Shard>& plan) {
  json names = json::object();
  int64_t bytes = 0;
  for (const Shard& shard : plan) {
    for (const Item& item : shard.items) {
      for (const io::TensorEntry& tensor : item.written) names[tensor.name] = shard.file;
      bytes += item.bytes_written();
    }
  }
  return json{{"metadata", {{"total_size", bytes}}}, {"weight_map", names}}.dump(2) + "\n";
}

json fp8_keys(const model::QuantizationConfig& q) {
  json keys{{"weight_block_size", {q.block_rows, q.block_cols}}};
  if (q.ue8m0) keys["scale_fmt"] = "ue8m0";
  return keys;
}

bool has_fp8(const std::vector<Shard>& plan) {
  return std::ranges::any_of(plan, [](const Shard& shard) {
    return std::ranges::any_of(shard.items,
                               [](const Item& item) { return item.written[0].dtype == io::DType::kF8E4M3; });
  });
}

// The source's config.json with another quantization_config.
std::string make_config(const model::Model& source, const std::vector<Shard>& plan,
                        const QuantizeOptions& options) {
  const fs::path path = fs::path(source.checkpoint.folder()) / "config.json";
  json config = read_json_file(path.string(), kMaxJsonBytes, ErrorKind::kConfig);
  json quantization;
  if (options.format == Format::kF8E4M3) {
    quantization = {{"activation_scheme", "dynamic"}, {"fmt", "e4m3"}, {"quant_method", "fp8"}};
    quantization.update(fp8_keys({}));
  } else {
    quantization = {{"quant_method", "hadal"}, {"format", format_name(options.format)}};
    if (options.format == Format::kI4) quantization["group_size"] = options.group_size;
    if (has_fp8(plan)) quantization.update(fp8_keys(*source.config.quantization));
  }
  config["quantization_config"] = quantization;
  return config.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

// The shards, one after the other, with progress and sums over all of them.
class Run {
 public:
  Run(const model::Model& source, const std::vector<Shard>& plan, Calibration* calibration, ThreadPool& pool,
      const model::LoadProgress& progress)
      : source_(source), plan_(plan), calibration_(calibration), pool_(pool), progress_(progress) {}

  QuantizeSummary write_all(const fs::path& out) {
    summary_.files = static_cast<int64_t>(plan_.size());
    for (const Shard& shard : plan_) total_ += shard.bytes_read();
    for (const Shard& shard : plan_) {
      for (const Item& item : shard.items) summary_.bytes_out += item.bytes_written();
      if (is_done(shard, out / shard.file)) {
        ++summary_.files_kept;
        total_ -= shard.bytes_read();
        continue;
      }
      write_shard(
          shard, (out / shard.file).string(), calibration_, pool_,
          [&](const io::TensorEntry& tensor) {
            model::check_numbers(tensor, source_.checkpoint.file_of(tensor.name), pool_);
          },
          [&](const Item& item, const SquaredError& error) { count(item, error); });
    }
    summary_.bytes_in = source_.checkpoint.total_bytes();
    return summary_;
  }

 private:
  void count(const Item& item, const SquaredError& error) {
    done_ += item.bytes_read();
    if (progress_) progress_(done_, total_);
    summary_.error += error;
    if (error.relative() <= summary_.worst_error) return;
    summary_.worst_error = error.relative();
    summary_.worst = item.written[0].name;
  }

  const model::Model& source_;
  const std::vector<Shard>& plan_;
  Calibration* calibration_;  // null: plain rounding
  ThreadPool& pool_;
  const model::LoadProgress& progress_;
  QuantizeSummary summary_;
  int64_t done_ = 0, total_ = 0;
};

}  // namespace

QuantizeSummary quantize(const std::string& in, const std::string& out, const QuantizeOptions& options,
                         ThreadPool& pool, const model::LoadProgress& progress) {
  model::Model source = model::bind_model(in);
  const std::vector<Shard> plan = make_plan(source, options);
  const fs::path folder = out;
  prepare_folder(in, folder, make_record(source, options));
  check_disk(plan, folder);
  std::optional<Calibration> calibration;
  if (options.calibration) calibration.emplace(source, *options.calibration, plan, pool);
  QuantizeSummary summary =
      Run(source, plan, calibration ? &*calibration : nullptr, pool, progress).write_all(folder);
  write_text(folder / kIndex, make_index(plan));
  for (const char* name : kOtherFiles) {
    if (!fs::exists(fs::path(in) / name)) continue;
    fs::copy_file(fs::path(in) / name, folder / name, fs::copy_options::overwrite_existing);
  }
  write_text(folder / "config.json", make_config(source, plan, options));
  return summary;
}

}  // namespace hadal::convert
