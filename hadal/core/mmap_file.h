#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace hadal {

/// A file mapped read-only. Move-only; the bytes live as long as the object.
class MmapFile {
 public:
  MmapFile() = default;
  /// kIo if the file is absent, not a regular file or not readable. An empty file maps to an empty span.
  explicit MmapFile(const std::string& path);
  MmapFile(MmapFile&& other) noexcept;
  MmapFile& operator=(MmapFile&& other) noexcept;
  MmapFile(const MmapFile&) = delete;
  MmapFile& operator=(const MmapFile&) = delete;
  ~MmapFile();

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, static_cast<size_t>(size_)}; }
  /// Reads bytes [offset, offset + to.size()) into memory of the caller's, not by way of the mapping. Throws kIo. Any thread.
  void read(int64_t offset, std::span<std::byte> to) const;

 private:
  std::string path_;
  int fd_ = -1;
  const std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

/// From now on, touching a page that the mapped file no longer has (someone truncated it) ends the process with a
/// message that names the file and exit code 1, instead of a bare SIGBUS. Once, from main().
void install_mmap_fault_handler();

}  // namespace hadal
