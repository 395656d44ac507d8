#include "hadal/core/arena.h"

#include <algorithm>
#include <new>

namespace hadal {

std::byte* Arena::allocate_bytes(int64_t bytes) {
  HADAL_CHECK(bytes >= 0, "{} bytes of scratch", bytes);
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  while (block_ < blocks_.size() && used_ + bytes > blocks_[block_].size) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    const int64_t size = std::max(bytes, kMinBlock);
    auto* data =
        static_cast<std::byte*>(::operator new[](static_cast<size_t>(size), std::align_val_t{kAlignment}));
    blocks_.push_back({std::unique_ptr<std::byte[], AlignedDelete>(data), size});
    used_ = 0;
  }
  std::byte* given = blocks_[block_].data.get() + used_;
  used_ += bytes;
  return given;
}

int64_t Arena::capacity() const {
  int64_t total = 0;
  for (const Block& block : blocks_) total += block.size;
  return total;
}

}  // namespace hadal
