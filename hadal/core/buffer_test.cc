#include "hadal/core/buffer.h"

#include <limits>
#include <utility>

#include <gtest/gtest.h>

#include "hadal/core/error.h"

namespace hadal {
namespace {

TEST(Buffer, IsZeroAndWritable) {
  constexpr int64_t kSize = (int64_t{4} << 20) + 5;
  const Buffer buffer(kSize);
  EXPECT_EQ(buffer.size(), kSize);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0U);
  for (const int64_t i : {int64_t{0}, kSize / 2, kSize - 1}) {
    EXPECT_EQ(buffer.data()[i], std::byte{0});
    buffer.data()[i] = std::byte{7};
    EXPECT_EQ(buffer.data()[i], std::byte{7});
  }
}

TEST(Buffer, MovesAndIsEmpty) {
  Buffer a(100);
  std::byte* const at = a.data();
  const Buffer b = std::move(a);
  EXPECT_EQ(b.data(), at);
  EXPECT_EQ(b.size(), 100);
  EXPECT_EQ(Buffer().data(), nullptr);
  EXPECT_EQ(Buffer(0).size(), 0);
}

TEST(Buffer, TooMuchIsAnError) {
  EXPECT_THROW(Buffer(std::numeric_limits<int64_t>::max() / 2), Error);
}

}  // namespace
}  // namespace hadal
