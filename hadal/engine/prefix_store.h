#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "hadal/engine/kv_cache.h"
#include "hadal/engine/scheduler.h"

namespace hadal::engine {

/// Computed pages of prompts in files, so that they outlive the process and the cache's memory: a page comes back with the bits
/// that it was written with. A file's name is the SHA-256 of what the page depends on: the model and the way it is computed, the
/// salt, all tokens up to the page's end. It holds the name and a checksum again; what does not agree is deleted, with a warning. When
/// the folder grows beyond its size, the pages that were used longest ago go.
///
/// Reads on the caller's thread, writes on one of its own; all of it may fail without any harm but the loss of time.
class PrefixStore : public PageStore {
 public:
  /// identity: says which model this is and how it is computed, exactly: two stores of the same identity share. Throws kIo if the
  /// folder can neither be read nor made.
  PrefixStore(const std::string& folder, int64_t max_bytes, const std::string& identity,
              const KvCache& cache);
  PrefixStore(const PrefixStore&) = delete;
  PrefixStore& operator=(const PrefixStore&) = delete;
  /// Waits until what it was given is written.
  ~PrefixStore() override;

  /// The name of the page with these tokens after the page of that name; `before` is empty for a first page, with its salt.
  std::string name_of(const std::string& before, std::string_view salt,
                      std::span<const int32_t> tokens) const override;

  /// Puts the page of this name into that page of the cache. False: there is none.
  bool read(const std::string& name, int32_t page) override;
  /// Keeps a copy of that page of the cache under this name.
  void write(const std::string& name, int32_t page) override;

  int64_t bytes() const;

 private:
  struct Entry {
    int64_t bytes = 0;
    std::list<std::string>::iterator use;
  };
  struct Job {
    std::string name;
    std::vector<std::byte> content;
  };

  std::string path(const std::string& name) const { return folder_ + "/" + name + ".kv"; }
  void scan();
  void add(const std::string& name, int64_t bytes);
  void drop(const std::string& name);
  void make_room();
  void run();
  int64_t page_bytes() const;
  void copy_page(int32_t page, std::byte* content, bool out) const;

  const std::string folder_, identity_;
  const int64_t max_bytes_;
  const KvCache& cache_;

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable wake_;
  std::unordered_map<std::string, Entry> entries_;
  std::list<std::string> uses_;  // the one used longest ago first
  int64_t bytes_ = 0;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  std::thread writer_;
};

}  // namespace hadal::engine
