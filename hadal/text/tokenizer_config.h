#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "hadal/core/json.h"

namespace hadal::text {

/// The folder's tokenizer_config.json; an empty object when there is none. Throws kCheckpoint when it is not one.
json read_tokenizer_config(const std::string& folder);

/// A special token's text ("bos_token", "eos_token", ...), given as a string or as an AddedToken object; empty when
/// the config has none or null.
std::optional<std::string> special_token(const json& config, const std::string& name);

}  // namespace hadal::text
