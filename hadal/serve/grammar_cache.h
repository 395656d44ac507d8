#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "hadal/text/grammar.h"
#include "hadal/text/tokenizer.h"

namespace hadal::serve {

/// What an answer must look like.
struct Constraint {
  text::Grammar::Kind kind = text::Grammar::Kind::kJsonSchema;
  std::string source;

  bool operator==(const Constraint&) const = default;
};

/// The grammars that were compiled lately: a program sends the same schema with each request, and several answers to one share
/// it. Bounded in number and size, the one that was used longest ago goes first. Safe from any thread.
class GrammarCache {
 public:
  /// The tokenizer outlives the cache.
  explicit GrammarCache(const text::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  /// The grammar at its start. One that is not known is compiled, which can take long. Throws kRequest for one that does not
  /// compile.
  text::Grammar get(const Constraint& constraint);

  /// True if get() would not have to compile it.
  bool has(const Constraint& constraint) const;
  const text::Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  struct Entry {
    Constraint constraint;
    std::shared_ptr<const text::Grammar> grammar;
  };
  using Entries = std::list<Entry>;
  std::shared_ptr<const text::Grammar> find(const Constraint& constraint);
  void add(const Constraint& constraint, std::shared_ptr<const text::Grammar> grammar);

  const text::Tokenizer& tokenizer_;
  mutable std::mutex mutex_;  // of what follows
  Entries entries_;           // the one used last in front
  size_t source_bytes_ = 0;
};

}  // namespace hadal::serve
