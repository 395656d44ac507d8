#include "hadal/io/model_folder.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string_view>

#include <unistd.h>

#include "hadal/core/error.h"
#include "hadal/core/json.h"

namespace hadal::io {
namespace {

namespace fs = std::filesystem;

// A name of one path component: what Hugging Face allows, so nothing that leads out of the cache.
bool is_plain_name(std::string_view name) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !name.empty() && name.front() != '.' && name.find_first_not_of(kLetters) == std::string_view::npos;
}

bool is_repository(std::string_view model) {
  const size_t slash = model.find('/');
  return slash != std::string_view::npos && is_plain_name(model.substr(0, slash)) &&
         is_plain_name(model.substr(slash + 1));
}

std::optional<fs::path> environment_path(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return fs::path(value);
}

// The same variables in the same order as huggingface_hub.
fs::path hub_cache() {
  if (const auto cache = environment_path("HF_HUB_CACHE")) return *cache;
  if (const auto home = environment_path("HF_HOME")) return *home / "hub";
  if (const auto cache = environment_path("XDG_CACHE_HOME")) return *cache / "huggingface" / "hub";
  return environment_path("HOME").value_or("/") / ".cache" / "huggingface" / "hub";
}

// The snapshot folder of refs/main; empty when the cache has none.
std::optional<fs::path> find_snapshot(const fs::path& repository) {
  const fs::path main = repository / "refs" / "main";
  std::error_code error;
  if (!fs::exists(main, error)) return std::nullopt;
  constexpr int64_t kMaxRefBytes = 256;  // a commit hash has 40
  std::string commit = read_text_file(main.string(), kMaxRefBytes, ErrorKind::kIo);
  commit.erase(commit.find_last_not_of(" \r\n") + 1);
  if (!is_plain_name(commit)) {
    fail(ErrorKind::kIo, "{}\n  expected  the hash of a commit\n  found     {} other bytes", main.string(),
         commit.size());
  }
  fs::path snapshot = repository / "snapshots" / commit;
  if (!fs::is_directory(snapshot, error)) return std::nullopt;
  return snapshot;
}

}  // namespace

std::string find_model_folder(const std::string& model) {
  std::error_code error;
  if (fs::exists(model, error)) {
    if (!fs::is_directory(model, error))
      fail(ErrorKind::kIo, "{}\n  expected  a folder\n  found     a file", model);
    if (access(model.c_str(), R_OK | X_OK) != 0) {
      fail(ErrorKind::kIo, "{}\n  cannot be read: {}", model, std::strerror(errno));
    }
    return model;
  }
  if (error) fail(ErrorKind::kIo, "{}\n  cannot be read: {}", model, error.message());
  if (!is_repository(model)) {
    fail(ErrorKind::kIo,
         "--model {}\n  expected  a folder, or org/name of a model in the Hugging Face cache\n"
         "  found     no such folder",
         model);
  }
  const fs::path cache = hub_cache();
  std::string folder_name = "models--" + model;
  folder_name.replace(folder_name.find('/'), 1, "--");
  if (const auto snapshot = find_snapshot(cache / folder_name)) return snapshot->string();
  fail(ErrorKind::kIo,
       "--model {}\n  expected  a folder, or a model in the Hugging Face cache {}\n  found     neither\n"
       "  hint      download it with: hf download {}",
       model, cache.string(), model);
}

}  // namespace hadal::io
