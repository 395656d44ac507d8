#include "hadal/engine/page_allocator.h"

namespace hadal::engine {

PageAllocator::PageAllocator(int64_t num_pages, int64_t page_size)
    : num_pages_(num_pages), page_size_(page_size) {
  for (int64_t page = num_pages; page-- > 0;) free_.push_back(static_cast<int32_t>(page));
}

bool PageAllocator::reserve(std::vector<int32_t>& table, int64_t length) {
  const int64_t missing = pages_for(length) - static_cast<int64_t>(table.size());
  if (missing > num_free()) return false;
  for (int64_t i = 0; i < missing; ++i) {
    table.push_back(free_.back());
    free_.pop_back();
  }
  return true;
}

void PageAllocator::release(std::vector<int32_t>& table) {
  free_.insert(free_.end(), table.rbegin(), table.rend());
  table.clear();
}

}  // namespace hadal::engine
