#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace hadal {

/// Large memory of our own, all zeros, in huge pages where Linux gives them: a walk through gigabytes then does not
/// stand still for address translation. Pages come into being when they are first written.
class Buffer {
 public:
  Buffer() = default;
  /// Throws kCapacity when the address space or the overcommit limit does not allow it.
  explicit Buffer(int64_t bytes);

  std::byte* data() const { return data_.get(); }
  int64_t size() const { return data_.get_deleter().bytes; }

 private:
  struct Unmap {
    Unmap() : bytes(0) {}
    explicit Unmap(int64_t count) : bytes(count) {}
    int64_t bytes;
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte[], Unmap> data_;
};

}  // namespace hadal
