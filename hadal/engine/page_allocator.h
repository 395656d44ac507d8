#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "hadal/core/round.h"

namespace hadal::engine {

/// How much of a sequence's beginning is in the index of prefixes.
struct Prefix {
  int64_t num_pages = 0;
  uint64_t chain = 0;  // the entry of the last of these pages; what follows it is looked up under this number
};

/// Which pages of the cache are whose, and which tokens are in them: page ids only, no memory.
///
/// Full pages of prompts are indexed by their tokens, so that a later sequence with the same beginning shares them. An indexed
/// page that nobody uses stays, as long as the room is not needed: the one that was used longest ago goes first, and what
/// follows a page always goes before it. An entry is found by hash and known by its tokens, its salt and its predecessor,
/// which are compared: no other text can pass for it.
class PageAllocator {
 public:
  PageAllocator(int64_t num_pages, int64_t page_size);

  /// Grows `table` until it holds `length` tokens. False, and nothing changed, if the pages do not suffice: full is normal.
  bool reserve(std::vector<int32_t>& table, int64_t length);
  /// Gives all pages of the table back and empties it. What is indexed stays for others.
  void release(std::vector<int32_t>& table);

  /// Puts the indexed pages that hold the beginning of `tokens`, whole pages only, into `table`, from prefix.num_pages on.
  /// Prefixes are shared only under the same salt. The table's own pages that they replace, not yet computed, go back.
  void match_prefix(Prefix& prefix, std::span<const int32_t> tokens, std::string_view salt,
                    std::vector<int32_t>& table);
  /// Indexes the table's pages from prefix.num_pages up to the last full one of `tokens`, which have been computed. Where
  /// the same text is indexed already, the page stays the sequence's own.
  void index(Prefix& prefix, std::span<const int32_t> tokens, std::string_view salt,
             std::span<const int32_t> table);
  /// Forgets all that is indexed; pages in use go back when their users are done.
  void forget();

  /// Pages that can be had: empty ones, and indexed ones that nobody uses.
  int64_t num_free() const { return static_cast<int64_t>(free_.size() + unused_.size()); }
  /// Of these, the indexed ones.
  int64_t num_cached() const { return static_cast<int64_t>(unused_.size()); }
  int64_t num_pages() const { return static_cast<int64_t>(pages_.size()); }
  int64_t page_size() const { return page_size_; }
  /// True if `length` tokens fit the empty pool: else waiting would be for ever.
  bool can_ever_hold(int64_t length) const { return pages_for(length) <= num_pages(); }

 private:
  struct Page {
    int32_t users = 0;
    uint64_t entry = 0;   // its number in the index; 0: not indexed
    uint64_t parent = 0;  // the entry before it; 0: a text begins here
    std::string salt;     // of a first page
    std::vector<int32_t> tokens;
    std::list<int32_t>::iterator unused{};  // its place there, if nobody uses it
  };
  struct Key {
    uint64_t parent;
    std::string_view salt;
    std::span<const int32_t> tokens;
  };

  int64_t pages_for(int64_t length) const { return ceil_div(length, page_size_); }
  Key key(uint64_t parent, std::string_view salt, std::span<const int32_t> tokens, int64_t page) const;
  int32_t find(const Key& key) const;
  void drop_entry(int32_t page);
  int32_t take();
  void give_back(int32_t id);

  int64_t page_size_;
  std::vector<Page> pages_;
  std::vector<int32_t> free_;  // taken from the back
  std::list<int32_t> unused_;  // indexed and used by nobody; the front goes first
  std::unordered_multimap<size_t, int32_t> index_;
  uint64_t next_entry_ = 1;
};

}  // namespace hadal::engine
