#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace hadal::serve {

/// The responses that others can go on from, in memory: when there are too many, those go that nobody has asked for the
/// longest. A response is its owner's alone. Safe to use from any thread.
class ResponseStore {
 public:
  static constexpr size_t kMaxBytes = 64 << 20, kMaxResponses = 4096;

  explicit ResponseStore(size_t max_bytes = kMaxBytes) : max_bytes_(max_bytes) {}

  /// As text, whose size is known.
  struct Entry {
    std::string owner, id;
    std::string response;  // as it was given out
    std::string items;     // the conversation up to its end, a list
  };
  /// What alone is too large is not kept.
  void put(Entry entry);
  std::optional<Entry> get(const std::string& owner, const std::string& id);
  /// False: there is none.
  bool erase(const std::string& owner, const std::string& id);

 private:
  using Place = std::list<Entry>::iterator;

  // Null: it has none. The lock is held.
  const Place* find(const std::string& owner, const std::string& id) const;
  void drop(Place place);

  const size_t max_bytes_;
  std::mutex mutex_;
  size_t bytes_ = 0;
  std::list<Entry> order_;  // the one last used first
  std::map<std::string, Place> by_id_;
};

}  // namespace hadal::serve
