#include "hadal/core/buffer.h"

#include <cerrno>
#include <cstring>

#include <sys/mman.h>

#include "hadal/core/error.h"
#include "hadal/core/memory.h"

namespace hadal {

Buffer::Buffer(int64_t bytes) {
  if (bytes == 0) return;
  HADAL_CHECK(bytes > 0, "a buffer of {} bytes", bytes);
  void* const at = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) {
    fail(ErrorKind::kCapacity, "memory\n  expected  {}\n  found     {}", format_bytes(bytes),
         std::strerror(errno));
  }
  // A wish: where huge pages are switched off the memory works all the same.
  static_cast<void>(madvise(at, static_cast<size_t>(bytes), MADV_HUGEPAGE));
  data_ = {static_cast<std::byte*>(at), Unmap(bytes)};
}

void Buffer::Unmap::operator()(std::byte* p) const {
  munmap(p, static_cast<size_t>(bytes));
}

}  // namespace hadal
