// hadal verify: every tensor there, of the right shape and type, all numbers finite; and the files' checksums.
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/common.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/core/error.h"
#include "hadal/core/json.h"
#include "hadal/core/mmap_file.h"
#include "hadal/io/sha256.h"
#include "hadal/model/model.h"

namespace hadal::cli {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxManifestBytes = int64_t{16} << 20;

struct VerifyOptions {
  std::string model, manifest;
  int threads = 0;
  bool as_json = false;
};

// "<64 hex digits>  <file name>" a line, as sha256sum writes it, by file name without its folder.
std::map<std::string, std::string> read_manifest(const std::string& path) {
  const std::string text = read_text_file(path, kMaxManifestBytes, ErrorKind::kRequest);
  std::map<std::string, std::string> sums;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.empty()) continue;
    const bool formed = line.size() > 66 && line[64] == ' ' && (line[65] == ' ' || line[65] == '*') &&
                        line.find_first_not_of("0123456789abcdef") == 64;
    const std::string sum = line.substr(0, 64),
                      name = formed ? fs::path(line.substr(66)).filename().string() : "";
    if (name.empty()) {
      fail(ErrorKind::kRequest,
           "{}\n  line      {}\n  expected  64 hex digits, two spaces, a file name\n  found     {}", path,
           number, line);
    }
    const auto [entry, is_new] = sums.emplace(name, sum);
    if (!is_new && entry->second != sum) {
      fail(ErrorKind::kRequest, "{}\n  line      {}\n  expected  one checksum of {}\n  found     another",
           path, number, name);
    }
  }
  if (sums.empty()) fail(ErrorKind::kRequest, "{}\n  expected  a checksum a line\n  found     none", path);
  return sums;
}

// Every weight file has to be in the manifest, and everything in the manifest has to be as it says.
void check_sums(const std::map<std::string, std::string>& expected, std::map<std::string, std::string> found,
                const std::string& folder, const std::string& manifest) {
  for (const auto& [name, sum] : found) {
    if (expected.contains(name)) continue;
    fail(ErrorKind::kCheckpoint, "{}\n  file      {}\n  expected  a line for it\n  found     none", manifest,
         name);
  }
  for (const auto& [name, want] : expected) {
    const fs::path file = fs::path(folder) / name;
    if (!found.contains(name) && !fs::exists(file)) {
      fail(ErrorKind::kCheckpoint, "{}\n  file      {}\n  expected  this file\n  found     no such file",
           manifest, file.string());
    }
    if (!found.contains(name)) found[name] = io::sha256_hex(MmapFile(file.string()).bytes());
    if (found[name] == want) continue;
    fail(ErrorKind::kCheckpoint, "{}\n  file      {}\n  expected  {}\n  found     {}", manifest, name, want,
         found[name]);
  }
}

void verify(const VerifyOptions& options) {
  const std::string folder = model_folder(options.model);
  std::map<std::string, std::string> expected;
  if (!options.manifest.empty()) expected = read_manifest(options.manifest);
  ThreadPool pool(options.threads > 0 ? options.threads : usable_cpus());
  const model::Model model = model::bind_model(folder);  // names, shapes, types
  std::map<std::string, std::string> sums;
  size_t tensors = 0;
  int64_t done = 0;
  const model::LoadProgress progress = show_progress("checking");
  for (const auto& file : model.checkpoint.files()) {
    for (const io::TensorEntry& tensor : file->tensors()) {
      model::check_numbers(tensor, file->path(), pool);
      done += static_cast<int64_t>(tensor.data.size());
      if (progress) progress(done, model.checkpoint.total_bytes());
    }
    tensors += file->tensors().size();
    sums[fs::path(file->path()).filename().string()] = io::sha256_hex(file->bytes());
  }
  if (!options.manifest.empty()) check_sums(expected, sums, folder, options.manifest);
  if (options.as_json) {
    json out{{"model", folder}, {"tensors", tensors}, {"files", sums}, {"ok", true}};
    write_stdout(out.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
    return;
  }
  for (const auto& [name, sum] : sums) write_stdout(fmt::format("{}  {}\n", sum, name));
  fmt::print(stderr, "{}: {} tensors present, of the right shape, finite{}\n", folder, tensors,
             options.manifest.empty() ? "" : "; checksums match");
}

}  // namespace

void add_verify(CLI::App& app) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* cmd =
      app.add_subcommand("verify", "Check a checkpoint: names, shapes, finite numbers, checksums");
  cmd->add_option("model,-m,--model", options->model, "Folder, or org/name in the local Hugging Face cache");
  cmd->add_option("-t,--threads", options->threads, "Threads")->check(number_from(1, 4096));
  cmd->add_option("--manifest", options->manifest,
                  "File of checksums (as sha256sum writes it) to compare with");
  cmd->add_flag("--json", options->as_json, "Print a JSON object");
  cmd->callback([options] { verify(*options); });
}

}  // namespace hadal::cli
