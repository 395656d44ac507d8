#pragma once

#include <span>

#include "hadal/serve/fields.h"

namespace hadal::serve {

// The fields of each endpoint that takes some, those of generation_rules() among them.
std::span<const FieldRule> completion_rules();
std::span<const FieldRule> chat_rules();
std::span<const FieldRule> tokenize_rules();
std::span<const FieldRule> detokenize_rules();
std::span<const FieldRule> sglang_rules();
std::span<const FieldRule> key_rules();
std::span<const FieldRule> key_change_rules();
std::span<const FieldRule> message_rules();
std::span<const FieldRule> responses_rules();

}  // namespace hadal::serve
