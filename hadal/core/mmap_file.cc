#include "hadal/core/mmap_file.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hadal/core/error.h"

namespace hadal {
namespace {

// What the fault handler may read: a fixed table, written without locks, because a signal handler may take none.
struct Mapping {
  std::atomic<const std::byte*> begin{nullptr};
  std::atomic<const std::byte*> end{nullptr};
  std::array<char, 1024> path{};
};
std::array<Mapping, 1024> mappings;  // DeepSeek-V3 has 163 shards

void remember(const std::byte* data, int64_t size, const std::string& path) {
  for (Mapping& slot : mappings) {
    const std::byte* expected = nullptr;
    if (!slot.begin.compare_exchange_strong(expected, data)) continue;
    const size_t length = std::min(path.size(), slot.path.size() - 1);
    std::memcpy(slot.path.data(), path.data(), length);
    slot.path[length] = '\0';
    slot.end = data + size;
    return;
  }
}

void forget(const std::byte* data) {
  for (Mapping& slot : mappings) {
    if (slot.begin != data) continue;
    slot.end = nullptr;
    slot.begin = nullptr;
    return;
  }
}

void write_stderr(const char* text) {
  // The process ends on the next line; nothing is left to do about a short write.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, std::strlen(text));
}

void on_sigbus(int /*signal*/, siginfo_t* info, void* /*context*/) {
  const auto* address = static_cast<const std::byte*>(info->si_addr);
  for (const Mapping& slot : mappings) {
    const std::byte* end = slot.end;
    if (end == nullptr || address < slot.begin || address >= end) continue;
    write_stderr("hadal: ");
    write_stderr(slot.path.data());
    write_stderr(
        "\n  cannot be read any more: the file was truncated, or its disk failed, while it was in use\n");
    _exit(1);
  }
  std::signal(SIGBUS, SIG_DFL);  // not ours: die as usual
  std::raise(SIGBUS);
}

}  // namespace

MmapFile::MmapFile(const std::string& path) : path_(path) {
  // O_NONBLOCK: opening a pipe would wait for a writer. It means nothing for regular files.
  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) fail(ErrorKind::kIo, "{}\n  cannot be opened: {}", path, std::strerror(errno));
  struct stat status {};
  if (fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(fd_);
    fail(ErrorKind::kIo, "{}\n  expected  a regular file", path);
  }
  size_ = status.st_size;
  if (size_ == 0) return;
  void* mapped = mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_SHARED, fd_, 0);
  if (mapped == MAP_FAILED) {
    const int reason = errno;
    close(fd_);
    fail(ErrorKind::kIo, "{}\n  cannot be mapped ({} bytes): {}", path, size_, std::strerror(reason));
  }
  data_ = static_cast<const std::byte*>(mapped);
  remember(data_, size_, path);
}

MmapFile::MmapFile(MmapFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MmapFile& MmapFile::operator=(MmapFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MmapFile::~MmapFile() {
  if (fd_ >= 0) close(fd_);
  if (data_ == nullptr) return;
  forget(data_);
  munmap(const_cast<std::byte*>(data_), static_cast<size_t>(size_));  // munmap's own signature wants void*
}

void MmapFile::read(int64_t offset, std::span<std::byte> to) const {
  while (!to.empty()) {
    const ssize_t count = pread(fd_, to.data(), to.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      fail(ErrorKind::kIo, "{}\n  cannot be read at byte {}: {}", path_, offset,
           count < 0 ? std::strerror(errno) : "the file has become shorter");
    }
    offset += count;
    to = to.subspan(static_cast<size_t>(count));
  }
}

void install_mmap_fault_handler() {
  struct sigaction action {};
  action.sa_sigaction = &on_sigbus;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace hadal
