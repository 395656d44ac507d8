#pragma once

#include <cstdint>
#include <vector>

namespace hadal::engine {

/// Which pages of the cache are whose: page ids only, no memory.
class PageAllocator {
 public:
  PageAllocator(int64_t num_pages, int64_t page_size);

  /// Grows `table` until it holds `length` tokens. False, and nothing changed, if the pages do not suffice: full is normal.
  bool reserve(std::vector<int32_t>& table, int64_t length);
  /// Gives all pages of the table back and empties it.
  void release(std::vector<int32_t>& table);

  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  /// True if `length` tokens fit the empty pool: else waiting would be for ever.
  bool can_ever_hold(int64_t length) const { return pages_for(length) <= num_pages_; }

 private:
  int64_t pages_for(int64_t length) const { return (length + page_size_ - 1) / page_size_; }

  int64_t num_pages_, page_size_;
  std::vector<int32_t> free_;  // taken from the back
};

}  // namespace hadal::engine
