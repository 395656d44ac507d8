#include "hadal/io/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "hadal/core/error.h"
#include "hadal/core/json.h"
#include "hadal/io/json_reader.h"
#include "hadal/io/shard_index.h"

namespace hadal::io {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kSingleName = "model.safetensors";
constexpr std::string_view kSuffix = ".safetensors";

// What weight_map says; empty without an index.
struct ShardList {
  std::string index_path{};
  std::map<std::string, std::string> weight_map{};  // tensor -> file name
  std::set<std::string> file_names{};
};

// The names of the folder's *.safetensors files.
std::set<std::string> list_safetensors(const std::string& folder) {
  std::set<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (name.ends_with(kSuffix)) names.insert(std::move(name));
  }
  if (error) fail(ErrorKind::kIo, "{}\n  cannot be read: {}", folder, error.message());
  return names;
}

// model-00002-of-000163.safetensors, but not model-00001-of-000001.safetensors.
bool is_one_of_several(std::string_view name) {
  name.remove_suffix(kSuffix.size());
  const size_t of = name.rfind("-of-");
  if (of == std::string_view::npos) return false;
  std::string_view count = name.substr(of + 4);
  count.remove_prefix(std::min(count.find_first_not_of('0'), count.size()));
  return count != "1" && count.find_first_not_of("0123456789") == std::string_view::npos;
}

ShardList read_index(const std::string& folder, const std::string& index_path) {
  constexpr int64_t kMaxIndexBytes = 200'000'000;  // kMaxTensors entries of 200 bytes; DeepSeek-V3 has 9 MB
  ShardList shards{.index_path = index_path};
  shards.weight_map =
      parse_shard_index(read_text_file(index_path, kMaxIndexBytes, ErrorKind::kCheckpoint), index_path);
  for (const auto& [tensor, file] : shards.weight_map) {
    if (!shards.file_names.insert(file).second) continue;
    std::error_code error;
    if (fs::exists(fs::path(folder) / file, error)) continue;
    fail(ErrorKind::kCheckpoint,
         "{}\n  tensor    {}\n  expected  {}/{}\n  found     no such file\n  hint      is the download "
         "complete?",
         index_path, printable(tensor), folder, file);
  }
  return shards;
}

ShardList read_unindexed(const std::string& folder, const std::string& index_path) {
  const std::set<std::string> names = list_safetensors(folder);
  if (names.contains(kSingleName)) return {.file_names = {kSingleName}};
  if (names.empty()) {
    fail(ErrorKind::kCheckpoint,
         "{}\n  expected  {} or {}\n  found     no *.safetensors file\n"
         "  hint      hadal reads weights in the safetensors format only (no .bin, .pt or .gguf)",
         folder, kIndexName, kSingleName);
  }
  const std::string& first = *names.begin();
  if (names.size() == 1 && !is_one_of_several(first)) return {.file_names = names};
  fail(ErrorKind::kCheckpoint,
       "{}\n  expected  this file, which says what tensor is in which shard\n"
       "  found     {} *.safetensors file(s) without it, the first {}\n  hint      is the download complete?",
       index_path, names.size(), printable(first));
}

ShardList find_shards(const std::string& folder) {
  const std::string index_path = (fs::path(folder) / kIndexName).string();
  std::error_code error;
  return fs::exists(index_path, error) ? read_index(folder, index_path) : read_unindexed(folder, index_path);
}

}  // namespace

Checkpoint Checkpoint::open(const std::string& folder) {
  const ShardList shards = find_shards(folder);
  Checkpoint checkpoint;
  checkpoint.folder_ = folder;
  for (const std::string& name : shards.file_names) {
    checkpoint.add_file((fs::path(folder) / name).string());
  }
  if (!shards.index_path.empty()) checkpoint.check_index(shards.index_path, shards.weight_map);
  return checkpoint;
}

void Checkpoint::add_file(const std::string& path) {
  const SafetensorsFile& file = *files_.emplace_back(std::make_unique<SafetensorsFile>(path));
  for (const TensorEntry& tensor : file.tensors()) {
    const auto [known, is_new] = index_.emplace(tensor.name, Location{&tensor, &file});
    if (is_new) continue;
    fail(ErrorKind::kCheckpoint,
         "{}\n  tensor    {}\n  expected  it in one shard only\n  found     it in {} too", path,
         printable(tensor.name), known->second.file->path());
  }
}

void Checkpoint::check_index(const std::string& index_path,
                             const std::map<std::string, std::string>& weight_map) const {
  for (const auto& [name, file_name] : weight_map) {
    const auto found = index_.find(name);
    const std::string expected = (fs::path(folder_) / file_name).string();
    if (found != index_.end() && found->second.file->path() == expected) continue;
    fail(ErrorKind::kCheckpoint, "{}\n  tensor    {}\n  expected  it in {}\n  found     it in {}", index_path,
         printable(name), expected, found == index_.end() ? "no file" : found->second.file->path());
  }
  for (const auto& [name, location] : index_) {
    if (weight_map.contains(name)) continue;
    fail(ErrorKind::kCheckpoint,
         "{}\n  tensor    {}\n  expected  it in weight_map, since {} has it\n  found     no entry",
         index_path, printable(name), location.file->path());
  }
}

const TensorEntry* Checkpoint::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : found->second.tensor;
}

const std::string& Checkpoint::file_of(std::string_view name) const {
  const auto found = index_.find(name);
  HADAL_CHECK(found != index_.end(), "no tensor {}", printable(name));
  return found->second.file->path();
}

std::vector<const TensorEntry*> Checkpoint::tensors() const {
  std::vector<const TensorEntry*> all;
  all.reserve(index_.size());
  for (const auto& [name, location] : index_) all.push_back(location.tensor);
  return all;
}

int64_t Checkpoint::total_bytes() const {
  int64_t total = 0;
  for (const auto& [name, location] : index_) total += static_cast<int64_t>(location.tensor->data.size());
  return total;
}

}  // namespace hadal::io
