#include "hadal/io/sha256.h"

#include <array>

#include <fmt/ranges.h>
#include <openssl/evp.h>

#include "hadal/core/error.h"

namespace hadal::io {

std::string sha256_hex(std::span<const std::byte> bytes) {
  std::array<unsigned char, 32> digest{};
  unsigned int length = 0;
  const int ok = EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr);
  HADAL_CHECK(ok == 1 && length == digest.size(), "OpenSSL refused a SHA-256");
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

}  // namespace hadal::io
