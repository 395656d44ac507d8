#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "hadal/core/checked.h"
#include "hadal/core/error.h"
#include "hadal/core/json.h"
#include "hadal/io/safetensors.h"

namespace hadal::io {
namespace {

[[noreturn]] void fail_io(const std::string& path, std::string_view what) {
  fail(ErrorKind::kIo, "{}\n  cannot be {}: {}", path, what, std::strerror(errno));
}

// A device or a pipe, such as /dev/null: it is written to, for a rename would put a file in its place.
bool is_special(const std::string& path) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  return std::filesystem::is_other(status);
}

// A file that replaces `path` by commit() and leaves no trace without it.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path)
      : path_(path),
        in_place_(is_special(path)),
        temporary_(in_place_ ? path : fmt::format("{}.tmp-{}", path, getpid())),
        fd_(open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
    if (fd_ < 0) fail_io(temporary_, "created");
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (fd_ >= 0) close(fd_);
    if (!committed_ && !in_place_) unlink(temporary_.c_str());
  }

  void append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail_io(temporary_, "written");
      bytes = bytes.subspan(static_cast<size_t>(written));
    }
  }

  // After a failed fsync the kernel may have dropped the pages, and a second one would lie: the file is given up.
  void commit() {
    if (!in_place_ && fsync(fd_) != 0) fail_io(temporary_, "written to disk");
    const int fd = std::exchange(fd_, -1);
    if (close(fd) != 0) fail_io(temporary_, "written");
    if (in_place_) return;
    if (rename(temporary_.c_str(), path_.c_str()) != 0) fail_io(path_, "replaced");
    committed_ = true;
    sync_folder();
  }

 private:
  // The new name is on disk only when its folder is.
  void sync_folder() const {
    const std::filesystem::path parent = std::filesystem::path(path_).parent_path();
    const std::string folder = parent.empty() ? "." : parent.string();
    const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = fd >= 0 && fsync(fd) == 0;
    const int reason = errno;
    if (fd >= 0) close(fd);
    errno = reason;
    if (!synced) fail_io(folder, "written to disk");
  }

  std::string path_;
  bool in_place_;
  std::string temporary_;
  int fd_;
  bool committed_ = false;
};

std::string json_text(std::string_view text) {
  return json(text).dump();
}

void check_tensor(const TensorEntry& tensor) {
  std::optional<int64_t> bytes = size_of(tensor.dtype);
  for (const int64_t extent : tensor.shape) bytes = bytes ? checked_mul(*bytes, extent) : bytes;
  HADAL_CHECK(bytes && *bytes == static_cast<int64_t>(tensor.data.size()), "{}: {} bytes for {} x {}",
              tensor.name, tensor.data.size(), hadal::to_string(tensor.shape), to_string(tensor.dtype));
}

// Written by hand: an ordered JSON object looks its keys up one by one, and DeepSeek-V3 has 91,991 tensors.
std::string make_header(std::span<const TensorEntry> tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> entries;
  if (!metadata.empty()) {
    std::vector<std::string> texts;
    texts.reserve(metadata.size());
    for (const auto& [key, value] : metadata) texts.push_back(json_text(key) + ':' + json_text(value));
    entries.push_back(fmt::format("\"__metadata__\":{{{}}}", fmt::join(texts, ",")));
  }
  std::set<std::string_view> names;
  int64_t offset = 0;
  for (const TensorEntry& tensor : tensors) {
    check_tensor(tensor);
    HADAL_CHECK(names.insert(tensor.name).second && tensor.name != "__metadata__", "tensor {} twice",
                tensor.name);
    const int64_t end = offset + static_cast<int64_t>(tensor.data.size());
    entries.push_back(fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                                  json_text(tensor.name), to_string(tensor.dtype),
                                  fmt::join(tensor.shape, ","), offset, end));
    offset = end;
  }
  std::string header = fmt::format("{{{}}}", fmt::join(entries, ","));
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

}  // namespace

void write_safetensors(const std::string& path, std::span<const TensorEntry> tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::string header = make_header(tensors, metadata);
  std::array<std::byte, 8> length{};
  for (size_t i = 0; i < length.size(); ++i) length[i] = static_cast<std::byte>(header.size() >> (8 * i));

  AtomicFile file(path);
  file.append(length);
  file.append(std::as_bytes(std::span(header)));
  for (const TensorEntry& tensor : tensors) file.append(tensor.data);
  file.commit();
}

}  // namespace hadal::io
