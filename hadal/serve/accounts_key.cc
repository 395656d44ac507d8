#include "hadal/serve/accounts_key.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include <openssl/crypto.h>
#include <sys/random.h>

#include "hadal/core/error.h"
#include "hadal/io/sha256.h"

namespace hadal::serve {
namespace {

constexpr std::string_view kAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

}  // namespace

std::string random_id(size_t length) {
  constexpr size_t kEven =
      256 / kAlphabet.size() * kAlphabet.size();  // bytes from here on would favour some letters
  std::string text;
  std::array<unsigned char, 64> bytes{};
  while (text.size() < length) {
    const ssize_t got = getrandom(bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(ErrorKind::kInternal, "getrandom\n  no random bytes: {}", std::strerror(errno));
    for (const unsigned char byte : std::span(bytes).first(static_cast<size_t>(got)))
      if (byte < kEven && text.size() < length) text += kAlphabet[byte % kAlphabet.size()];
  }
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return text;
}

std::string make_key(std::string_view id) {
  return std::string(kKeyPrefix).append(id).append(random_id(kKeySecretLength));
}

std::string_view key_id(std::string_view key) {
  if (key.size() != kKeyPrefix.size() + kKeyIdLength + kKeySecretLength || !key.starts_with(kKeyPrefix))
    return {};
  key.remove_prefix(kKeyPrefix.size());
  const bool fits =
      std::all_of(key.begin(), key.end(), [](char c) { return kAlphabet.find(c) != std::string_view::npos; });
  return fits ? key.substr(0, kKeyIdLength) : std::string_view();
}

std::string key_digest(std::string_view key) {
  return io::sha256_hex(std::as_bytes(std::span(key)));
}

bool same_digest(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace hadal::serve
