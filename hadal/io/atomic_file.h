#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace hadal::io {

/// What stands between the name of a file and the process number in the name of its unfinished copy.
inline constexpr const char* kTemporaryMark = ".tmp-";

/// A file that replaces `path` by commit() and leaves no trace without it; a device or a pipe is written to as it is.
/// Throws kIo.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void append(std::span<const std::byte> bytes);
  /// At a place of its own, whatever is there yet; append() does not know of it.
  void write_at(int64_t offset, std::span<const std::byte> bytes);
  /// Whole and on disk, under its name.
  void commit();

 private:
  std::string path_;
  bool in_place_;
  std::string temporary_;
  int fd_;
  bool committed_ = false;
};

}  // namespace hadal::io
