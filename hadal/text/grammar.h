#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "hadal/text/tokenizer.h"

namespace hadal::text {

/// Which tokens may come next under a JSON schema, a regular expression or a Lark grammar (llguidance).
class Grammar {
 public:
  enum class Kind : uint8_t { kJsonSchema, kRegex, kLark };

  /// Throws kRequest for a grammar that does not compile or is too large.
  Grammar(const Tokenizer& tokenizer, Kind kind, std::string_view source);
  Grammar(Grammar&&) noexcept;
  Grammar& operator=(Grammar&&) noexcept;
  ~Grammar();

  /// Another one at the same point of the text, without compiling. Threads may copy one that nobody advances.
  Grammar copy() const;

  /// One bit per token id, 1 = allowed: bit (id % 32) of mask[id / 32]. Bits beyond the vocabulary are 0.
  void mask(std::span<uint32_t> mask);
  /// Advances by one sampled token. Throws kRequest if the token was not allowed.
  void accept(int32_t token);
  /// True when nothing but the end may follow.
  bool is_finished() const;

 private:
  struct State;
  explicit Grammar(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hadal::text
