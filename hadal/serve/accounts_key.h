#pragma once

#include <string>
#include <string_view>

namespace hadal::serve {

/// An API key is "sk-hadal-", the id of its account (10 characters, public) and a secret (32 characters: 190 random bits),
/// all of it letters and digits. What is stored of it is the id and the digest.
inline constexpr std::string_view kKeyPrefix = "sk-hadal-";
inline constexpr size_t kKeyIdLength = 10, kKeySecretLength = 32;

/// Letters and digits, evenly drawn from the system's random source. Throws kInternal if that fails.
std::string random_id(size_t length);

/// A new key of this account.
std::string make_key(std::string_view id);

/// The account's id in a key; empty for what has not the form of a key.
std::string_view key_id(std::string_view key);

/// SHA-256 of the whole key in hex. The id in it is the salt; a random secret needs no slow hash.
std::string key_digest(std::string_view key);

/// Whether two digests are the same, in a time that does not depend on where they differ.
bool same_digest(std::string_view a, std::string_view b);

}  // namespace hadal::serve
