#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

namespace hadal::kernels {

/// A copy that ends where an unreadable page begins.
class Guarded {
 public:
  Guarded(const std::byte* data, int64_t size) {
    const auto page = static_cast<size_t>(getpagesize());
    const size_t bytes = (static_cast<size_t>(size) + page - 1) / page * page;
    length_ = bytes + page;
    base_ = static_cast<std::byte*>(
        mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED || mprotect(base_ + bytes, page, PROT_NONE) != 0) std::abort();
    data_ = base_ + bytes - size;
    std::memcpy(data_, data, static_cast<size_t>(size));
  }
  ~Guarded() { munmap(base_, length_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  const std::byte* data() const { return data_; }

 private:
  std::byte *base_ = nullptr, *data_ = nullptr;
  size_t length_ = 0;
};

}  // namespace hadal::kernels
