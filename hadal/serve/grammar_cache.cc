#include "hadal/serve/grammar_cache.h"

#include <algorithm>
#include <utility>

namespace hadal::serve {
namespace {

// What a grammar takes is not to be had from the library: a small one some hundred KB, most of it the same for all, a large one
// a few dozen times its source. So these are below 64 MB.
constexpr size_t kMostEntries = 64, kMostSourceBytes = size_t{1} << 20;

}  // namespace

text::Grammar GrammarCache::get(const Constraint& constraint) {
  auto grammar = find(constraint);
  if (!grammar) {
    grammar = std::make_shared<text::Grammar>(tokenizer_, constraint.kind, constraint.source);
    add(constraint, grammar);
  }
  return grammar->copy();
}

bool GrammarCache::has(const Constraint& constraint) const {
  const std::lock_guard lock(mutex_);
  return std::ranges::find(entries_, constraint, &Entry::constraint) != entries_.end();
}

std::shared_ptr<const text::Grammar> GrammarCache::find(const Constraint& constraint) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(entries_, constraint, &Entry::constraint);
  if (found == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found);
  return found->grammar;
}

void GrammarCache::add(const Constraint& constraint, std::shared_ptr<const text::Grammar> grammar) {
  const std::lock_guard lock(mutex_);
  entries_.push_front({constraint, std::move(grammar)});
  source_bytes_ += constraint.source.size();
  while (entries_.size() > kMostEntries || (source_bytes_ > kMostSourceBytes && entries_.size() > 1)) {
    source_bytes_ -= entries_.back().constraint.source.size();
    entries_.pop_back();
  }
}

}  // namespace hadal::serve
