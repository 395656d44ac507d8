#pragma once

// The C ABI of the Rust library: tokenizers, minijinja and llguidance. hadal/text/ is its only user.
//
// Every function that can fail returns a status; when it is not HADAL_OK, nothing was written but *error, a message
// that the caller frees. What is written to an `out` belongs to the caller and goes back through the matching _free
// function. Text is UTF-8 with a length, no terminating NUL. A null pointer is allowed where the size is 0.
// Functions that take a const object may run on any thread at the same time.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  HADAL_OK = 0,
  HADAL_REFUSED = 1,  // the input is not acceptable
  HADAL_PANICKED = 2  // a library gave up on it
} hadal_status;

typedef struct {
  uint8_t* data;
  size_t size;
} hadal_buffer;

typedef struct {
  int32_t* data;
  size_t size;
} hadal_ids;

void hadal_buffer_free(hadal_buffer buffer);
void hadal_ids_free(hadal_ids ids);

// ---- tokenizers ----

typedef struct hadal_tokenizer hadal_tokenizer;

// From the text of a tokenizer.json. Refused unless its ids are 0, 1, ..., n - 1. Truncation, padding and the
// post-processor of the file are not used.
hadal_status hadal_tokenizer_new(const uint8_t* json, size_t size, hadal_tokenizer** out,
                                 hadal_buffer* error);
void hadal_tokenizer_free(hadal_tokenizer* tokenizer);

hadal_status hadal_tokenizer_encode(const hadal_tokenizer* tokenizer, const uint8_t* text, size_t size,
                                    hadal_ids* out, hadal_buffer* error);
hadal_status hadal_tokenizer_decode(const hadal_tokenizer* tokenizer, const int32_t* ids, size_t size,
                                    bool skip_special, hadal_buffer* out, hadal_buffer* error);
int32_t hadal_tokenizer_vocab_size(const hadal_tokenizer* tokenizer);
// The token as the file has it.
hadal_status hadal_tokenizer_token(const hadal_tokenizer* tokenizer, int32_t id, hadal_buffer* out,
                                   hadal_buffer* error);
// The bytes that the id adds to decoded text. Refused unless the decoder is ByteLevel.
hadal_status hadal_tokenizer_token_bytes(const hadal_tokenizer* tokenizer, int32_t id, hadal_buffer* out,
                                         hadal_buffer* error);
// The id of a token as the file has it, -1 when there is none.
hadal_status hadal_tokenizer_token_id(const hadal_tokenizer* tokenizer, const uint8_t* token, size_t size,
                                      int32_t* out, hadal_buffer* error);
hadal_status hadal_tokenizer_is_special(const hadal_tokenizer* tokenizer, int32_t id, bool* out,
                                        hadal_buffer* error);

// ---- minijinja ----

// Writes the time `now` (seconds since 1970) in strftime's `format` to out[size]; returns the length, 0 if it does
// not fit.
typedef size_t (*hadal_format_time)(int64_t now, const char* format, char* out, size_t size);

// Whether the template parses.
hadal_status hadal_template_check(const uint8_t* source, size_t size, hadal_buffer* error);
// The template's text for the variables in `context`, a JSON object. Steps, recursion, memory and output are bounded.
hadal_status hadal_template_render(const uint8_t* source, size_t source_size, const uint8_t* context,
                                   size_t context_size, int64_t now, hadal_format_time format_time,
                                   hadal_buffer* out, hadal_buffer* error);

// ---- llguidance ----

typedef struct hadal_grammar hadal_grammar;

// A grammar at its start. kind: 0 a JSON schema, 1 a regular expression, 2 a Lark grammar. eos: the tokenizer's end
// token, always the same for one tokenizer. The grammar keeps what it needs of the tokenizer.
hadal_status hadal_grammar_new(const hadal_tokenizer* tokenizer, int32_t eos, int32_t kind,
                               const uint8_t* source, size_t size, hadal_grammar** out, hadal_buffer* error);
// Another one at the same point of the text. Any number of threads may copy a grammar that nobody advances.
hadal_status hadal_grammar_clone(const hadal_grammar* grammar, hadal_grammar** out, hadal_buffer* error);
void hadal_grammar_free(hadal_grammar* grammar);
// Writes one bit per token id, 1 = allowed, to mask[size]; words beyond the vocabulary become 0.
hadal_status hadal_grammar_mask(hadal_grammar* grammar, uint32_t* mask, size_t size, hadal_buffer* error);
// Advances by a token; refused if it was not allowed.
hadal_status hadal_grammar_accept(hadal_grammar* grammar, int32_t id, hadal_buffer* error);
// Whether nothing but the end may follow.
bool hadal_grammar_is_finished(const hadal_grammar* grammar);

#ifdef __cplusplus
}
#endif
