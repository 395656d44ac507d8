#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hadal::text {

/// A folder's tokenizer.json, run by the Rust `tokenizers` library, and what tokenizer_config.json says beside it.
/// Immutable after load; every const function may be called from any thread.
class Tokenizer {
 public:
  /// Throws kCheckpoint when tokenizer.json is absent, too large or not a tokenizer (with the library's reason), or
  /// when its ids are not 0, 1, ..., n - 1. tokenizer_config.json may be absent: then there is no BOS and no EOS.
  static Tokenizer load(const std::string& folder);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Token ids of UTF-8 text; with add_special, a BOS first when tokenizer_config.json has add_bos_token.
  /// Throws kRequest for invalid UTF-8 (with the byte offset).
  std::vector<int32_t> encode(std::string_view text, bool add_special = false) const;

  /// Text of the ids. Bytes that do not make a character become U+FFFD. Throws kRequest for an id out of range.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  /// Number of ids, added tokens included; the model's vocab_size may be larger (padding rows).
  int32_t vocab_size() const;
  /// The token as stored (byte-level alphabet), empty when the id is unknown.
  std::string token(int32_t id) const;
  /// The bytes that the id adds to decoded text, perhaps only a part of a character. Throws kRequest for an id out
  /// of range, and for tokenizers other than byte-level ones, where a token's text depends on its neighbours.
  std::string token_bytes(int32_t id) const;
  std::optional<int32_t> token_id(std::string_view token) const;
  /// True for ids that decode(.., skip_special = true) leaves out. False for unknown ids.
  bool is_special(int32_t id) const;

  std::optional<int32_t> bos_token_id() const;
  std::optional<int32_t> eos_token_id() const;

  /// The bridge's object behind this one, for Grammar.
  const void* handle() const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hadal::text
