#include "hadal/text/detokenizer.h"

namespace hadal::text {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

uint8_t byte_at(std::string_view bytes, size_t i) {
  return static_cast<uint8_t>(bytes[i]);
}

// How many bytes a character has that begins with this one; 0 for bytes that begin none.
size_t expected_length(uint8_t first) {
  if (first < 0x80) return 1;
  if (first < 0xC2) return 0;  // continuation bytes, and C0, C1, which would only be overlong forms
  if (first < 0xE0) return 2;
  if (first < 0xF0) return 3;
  return first < 0xF5 ? 4 : 0;
}

// Whether `second` may follow `first`: no overlong forms, no surrogates, nothing above U+10FFFF.
bool may_follow(uint8_t first, uint8_t second) {
  switch (first) {
    case 0xE0:
      return second >= 0xA0 && second <= 0xBF;
    case 0xED:
      return second >= 0x80 && second <= 0x9F;
    case 0xF0:
      return second >= 0x90 && second <= 0xBF;
    case 0xF4:
      return second >= 0x80 && second <= 0x8F;
    default:
      return second >= 0x80 && second <= 0xBF;
  }
}

// How many bytes at `start` are the beginning of a character or all of it, at least 1.
size_t valid_length(std::string_view bytes, size_t start, size_t expected) {
  const uint8_t first = byte_at(bytes, start);
  size_t n = 1;
  while (n < expected && start + n < bytes.size()) {
    const uint8_t next = byte_at(bytes, start + n);
    if (n == 1 ? !may_follow(first, next) : (next & 0xC0) != 0x80) break;
    ++n;
  }
  return n;
}

}  // namespace

void take_characters(std::string& bytes, std::string& text) {
  size_t i = 0;
  while (i < bytes.size()) {
    const size_t expected = expected_length(byte_at(bytes, i));
    const size_t length = valid_length(bytes, i, expected);
    if (expected != 0 && length < expected && i + length == bytes.size()) break;  // the rest may still come
    if (length == expected) {
      text.append(bytes, i, length);
    } else {
      text.append(kReplacement);
    }
    i += length;
  }
  bytes.erase(0, i);
}

std::string Detokenizer::push(int32_t id) {
  std::string text;
  if (skip_special_ && tokenizer_->is_special(id)) return text;
  if (id >= 0 && tokenizer_->token(id).empty()) return text;
  held_ += tokenizer_->token_bytes(id);
  take_characters(held_, text);
  return text;
}

std::string Detokenizer::finish() {
  std::string text;
  if (!held_.empty()) text = kReplacement;  // what is held is the beginning of one character
  held_.clear();
  return text;
}

}  // namespace hadal::text
