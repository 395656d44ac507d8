#include "hadal/engine/page_allocator.h"

#include <algorithm>
#include <utility>

#include "hadal/core/error.h"

namespace hadal::engine {
namespace {

size_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15ULL;  // 2^64 / golden ratio
  return hash ^ (hash >> 29);
}

size_t hash_of(uint64_t parent, std::string_view salt, std::span<const int32_t> tokens) {
  size_t hash = mix(std::hash<std::string_view>()(salt), parent);
  for (const int32_t token : tokens) hash = mix(hash, static_cast<uint64_t>(token));
  return hash;
}

}  // namespace

PageAllocator::PageAllocator(int64_t num_pages, int64_t page_size)
    : page_size_(page_size), pages_(static_cast<size_t>(num_pages)) {
  for (int64_t page = num_pages; page-- > 0;) free_.push_back(static_cast<int32_t>(page));
}

bool PageAllocator::reserve(std::vector<int32_t>& table, int64_t length) {
  const int64_t missing = pages_for(length) - static_cast<int64_t>(table.size());
  if (missing > num_free()) return false;
  for (int64_t i = 0; i < missing; ++i) table.push_back(take());
  return true;
}

int32_t PageAllocator::take() {
  if (free_.empty()) {
    const int32_t oldest = unused_.front();
    unused_.pop_front();
    drop_entry(oldest);
    free_.push_back(oldest);
  }
  const int32_t page = free_.back();
  free_.pop_back();
  pages_[static_cast<size_t>(page)].users = 1;
  return page;
}

void PageAllocator::give_back(int32_t id) {
  Page& page = pages_[static_cast<size_t>(id)];
  HADAL_CHECK(page.users > 0, "page {} is nobody's", id);
  if (--page.users > 0) return;
  if (page.entry == 0) {
    free_.push_back(id);
  } else {
    page.unused = unused_.insert(unused_.end(), id);
  }
}

void PageAllocator::release(std::vector<int32_t>& table) {
  for (; !table.empty(); table.pop_back()) give_back(table.back());  // what follows a page goes before it
}

PageAllocator::Key PageAllocator::key(uint64_t parent, std::string_view salt, std::span<const int32_t> tokens,
                                      int64_t page) const {
  const auto size = static_cast<size_t>(page_size_);
  return {parent, parent == 0 ? salt : "", tokens.subspan(static_cast<size_t>(page) * size, size)};
}

int32_t PageAllocator::find(const Key& key) const {
  const auto [begin, end] = index_.equal_range(hash_of(key.parent, key.salt, key.tokens));
  for (auto at = begin; at != end; ++at) {
    const Page& page = pages_[static_cast<size_t>(at->second)];
    if (page.parent == key.parent && page.salt == key.salt && std::ranges::equal(page.tokens, key.tokens))
      return at->second;
  }
  return -1;
}

void PageAllocator::match_prefix(Prefix& prefix, std::span<const int32_t> tokens, std::string_view salt,
                                 std::vector<int32_t>& table) {
  for (; (prefix.num_pages + 1) * page_size_ <= std::ssize(tokens); ++prefix.num_pages) {
    const int32_t id = find(key(prefix.chain, salt, tokens, prefix.num_pages));
    if (id < 0) return;
    Page& page = pages_[static_cast<size_t>(id)];
    if (page.users++ == 0) unused_.erase(page.unused);
    const auto at = static_cast<size_t>(prefix.num_pages);
    if (at < table.size()) {
      give_back(std::exchange(table[at], id));
    } else {
      table.push_back(id);
    }
    prefix.chain = page.entry;
  }
}

void PageAllocator::index(Prefix& prefix, std::span<const int32_t> tokens, std::string_view salt,
                          std::span<const int32_t> table) {
  for (; (prefix.num_pages + 1) * page_size_ <= std::ssize(tokens); ++prefix.num_pages) {
    const Key wanted = key(prefix.chain, salt, tokens, prefix.num_pages);
    int32_t id = find(wanted);
    if (id < 0) {
      id = table[static_cast<size_t>(prefix.num_pages)];
      Page& page = pages_[static_cast<size_t>(id)];
      page.entry = next_entry_++;
      page.parent = wanted.parent;
      page.salt = wanted.salt;
      page.tokens.assign(wanted.tokens.begin(), wanted.tokens.end());
      index_.emplace(hash_of(wanted.parent, wanted.salt, wanted.tokens), id);
    }
    prefix.chain = pages_[static_cast<size_t>(id)].entry;
  }
}

void PageAllocator::drop_entry(int32_t id) {
  Page& page = pages_[static_cast<size_t>(id)];
  const auto [begin, end] = index_.equal_range(hash_of(page.parent, page.salt, page.tokens));
  index_.erase(std::find_if(begin, end, [id](const auto& entry) { return entry.second == id; }));
  page.entry = 0;
  page.tokens.clear();
}

void PageAllocator::forget() {
  for (size_t id = 0; id < pages_.size(); ++id) {
    if (pages_[id].entry != 0) drop_entry(static_cast<int32_t>(id));
  }
  free_.insert(free_.end(), unused_.begin(), unused_.end());
  unused_.clear();
}

}  // namespace hadal::engine
