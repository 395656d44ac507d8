#include "hadal/io/atomic_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "hadal/core/error.h"

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

// The new name is on disk only when its folder is.
void sync_folder_of(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && fsync(fd) == 0;
  const int reason = errno;
  if (fd >= 0) close(fd);
  errno = reason;
  if (!synced) fail_io(folder, "written to disk");
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path)
    : path_(path),
      in_place_(is_special(path)),
      temporary_(in_place_ ? path : fmt::format("{}{}{}", path, kTemporaryMark, getpid())),
      fd_(open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (fd_ < 0) fail_io(temporary_, "created");
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) close(fd_);
  if (!committed_ && !in_place_) unlink(temporary_.c_str());
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_io(temporary_, "written");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::write_at(int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_io(temporary_, "written");
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += written;
  }
}

// After a failed fsync the kernel may have dropped the pages, and a second one would lie: the file is given up.
void AtomicFile::commit() {
  if (!in_place_ && fsync(fd_) != 0) fail_io(temporary_, "written to disk");
  const int fd = std::exchange(fd_, -1);
  if (close(fd) != 0) fail_io(temporary_, "written");
  if (in_place_) return;
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail_io(path_, "replaced");
  committed_ = true;
  sync_folder_of(path_);
}

}  // namespace hadal::io
