#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace hadal::io {

/// Lower-case hex SHA-256 (64 digits) of the bytes.
std::string sha256_hex(std::span<const std::byte> bytes);

}  // namespace hadal::io
