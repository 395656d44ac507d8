#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "hadal/text/tokenizer.h"

namespace hadal::text {

/// Turns a stream of ids into a stream of text without ever cutting a character: bytes of an unfinished character
/// are held back until the rest arrives. The pieces add up to exactly Tokenizer::decode of all ids, and each push
/// costs as much as its token is long. For byte-level tokenizers.
class Detokenizer {
 public:
  Detokenizer(const Tokenizer& tokenizer, bool skip_special)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  /// The text that this id completes; may be empty. An id without a token, which a model's padded vocabulary has, is no
  /// text. Throws what Tokenizer::token_bytes throws.
  std::string push(int32_t id);
  /// What was held back, at the end of the stream (U+FFFD for bytes that never became a character).
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string held_;  // the first bytes of a character, at most 3
};

/// Moves the text at the front of `bytes` to the end of `text`: whole characters as they are, and one U+FFFD for each
/// maximal part of a character that cannot be continued, as Unicode recommends and Rust and Python do. What remains
/// in `bytes` may still become a character.
void take_characters(std::string& bytes, std::string& text);

}  // namespace hadal::text
