#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hadal/core/buffer.h"
#include "hadal/core/mmap_file.h"
#include "hadal/core/thread_pool.h"
#include "hadal/io/atomic_file.h"

namespace hadal::io {

/// Element types of the safetensors format that hadal reads and writes.
enum class DType : uint8_t { kF32, kF16, kBF16, kF8E4M3, kI8, kU8, kI32, kI64 };

std::string_view to_string(DType dtype);  // "F32", "BF16", "F8_E4M3", ...
int64_t size_of(DType dtype);

/// One tensor of a file: a typed, shaped window on the mapping. `data` lives as long as the SafetensorsFile. The
/// format promises no alignment: the header may have any length, and a tensor begins where the last one ends.
struct TensorEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
};

/// Largest header that is read (the reference implementation's limit), most tensors and axes in one file.
inline constexpr int64_t kMaxHeaderBytes = 100'000'000;
/// A file begins with the header's length, a number of so many bytes.
inline constexpr size_t kLengthBytes = 8;
inline constexpr int64_t kMaxTensors = 1'000'000;
inline constexpr int64_t kMaxRank = 8;

/// Validates a whole file image (8-byte length, JSON header, data) and returns its tensors in the order of their
/// bytes. `where` (the file name) opens each message. Nothing larger than the header itself justifies is allocated
/// before the check that justifies it. Throws kCheckpoint.
std::vector<TensorEntry> parse_safetensors(std::span<const std::byte> file, const std::string& where);

/// A safetensors file, mapped; tensors point into the mapping, and nothing is copied unless that is asked for.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const;
  /// From now on the tensors lie in memory of our own, in huge pages where Linux gives them, and the file is closed: earlier views
  /// of them are void. On a pool of several groups, the rows of a tensor that a group begins with in parallel loops lie on
  /// its node. Throws kIo, and kCapacity when there is no room.
  void copy_into_memory(ThreadPool& pool);
  const std::vector<TensorEntry>& tensors() const { return tensors_; }
  const TensorEntry* find(std::string_view name) const;  // null: absent

 private:
  std::string path_;
  MmapFile file_;
  Buffer copy_;  // instead of the mapping
  std::vector<TensorEntry> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
};

/// Writes `tensors` in the given order (offsets ascending, header padded to 8 bytes with spaces) to a temporary file
/// beside `path`, fsyncs and renames; a device or a pipe is written to as it is. Throws kIo.
void write_safetensors(const std::string& path, std::span<const TensorEntry> tensors,
                       const std::map<std::string, std::string>& metadata = {});

/// Where the data of a SafetensorsWriter begins and, if all sizes before it are multiples of it, a tensor too.
inline constexpr size_t kDataAlignment = 64;

/// Writes a file whose tensors come one by one, in any order, and are not all in memory at once. Like write_safetensors it
/// leaves no trace without commit(). Throws kIo.
class SafetensorsWriter {
 public:
  /// `tensors` give name, type and shape; their data is not looked at. `metadata` may still change until commit(), but the
  /// header must then be as long.
  SafetensorsWriter(const std::string& path, std::vector<TensorEntry> tensors,
                    const std::map<std::string, std::string>& metadata);

  /// The whole of a tensor, once.
  void write(std::string_view name, std::span<const std::byte> bytes);
  /// When all have been written.
  void commit(const std::map<std::string, std::string>& metadata);

 private:
  struct Place {
    int64_t offset = 0, bytes = 0;
  };
  std::vector<TensorEntry> tensors_;
  AtomicFile file_;
  size_t header_bytes_ = 0;
  std::map<std::string, Place, std::less<>> places_;  // of those that are not written yet
};

}  // namespace hadal::io
