#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hadal/text/tokenizer.h"

namespace hadal::text {

/// Turns a stream of ids into a stream of text without ever cutting a character: bytes of an unfinished character
/// are held back until the rest arrives. The pieces add up to exactly Tokenizer::decode of all ids.
class Detokenizer {
 public:
  Detokenizer(const Tokenizer& tokenizer, bool skip_special) : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  /// The text that this id completes; may be empty.
  std::string push(int32_t id);
  /// What was held back, at the end of the stream (U+FFFD for bytes that never became a character).
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::vector<int32_t> window_;  // ids whose text is not yet behind us
  size_t emitted_ = 0;           // bytes of the window's text already given out
};

}  // namespace hadal::text
