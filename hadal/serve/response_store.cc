#include "hadal/serve/response_store.h"

#include <utility>

namespace hadal::serve {
namespace {

size_t bytes_of(const ResponseStore::Entry& entry) {
  return entry.owner.size() + entry.id.size() + entry.response.size() + entry.items.size();
}

}  // namespace

void ResponseStore::put(Entry entry) {
  const size_t bytes = bytes_of(entry);
  if (bytes > max_bytes_) return;
  const std::lock_guard lock(mutex_);
  if (const auto known = by_id_.find(entry.id); known != by_id_.end()) drop(known->second);
  while (bytes_ + bytes > max_bytes_ || order_.size() >= kMaxResponses) drop(std::prev(order_.end()));
  order_.push_front(std::move(entry));
  by_id_[order_.front().id] = order_.begin();
  bytes_ += bytes;
}

std::optional<ResponseStore::Entry> ResponseStore::get(const std::string& owner, const std::string& id) {
  const std::lock_guard lock(mutex_);
  const Place* place = find(owner, id);
  if (!place) return std::nullopt;
  order_.splice(order_.begin(), order_, *place);
  return order_.front();
}

bool ResponseStore::erase(const std::string& owner, const std::string& id) {
  const std::lock_guard lock(mutex_);
  const Place* place = find(owner, id);
  if (place) drop(*place);
  return place != nullptr;
}

const ResponseStore::Place* ResponseStore::find(const std::string& owner, const std::string& id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() || found->second->owner != owner ? nullptr : &found->second;
}

void ResponseStore::drop(Place place) {
  bytes_ -= bytes_of(*place);
  by_id_.erase(place->id);
  order_.erase(place);
}

}  // namespace hadal::serve
