#include "hadal/core/weight.h"

#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

TEST(Format, HasTheNamesAndSizesOfSafetensors) {
  EXPECT_EQ(to_string(Format::kF32), "F32");
  EXPECT_EQ(to_string(Format::kBF16), "BF16");
  EXPECT_EQ(to_string(Format::kF16), "F16");
  EXPECT_EQ(to_string(Format::kF8E4M3), "F8_E4M3");
  EXPECT_EQ(bytes_per_element(Format::kF32), 4);
  EXPECT_EQ(bytes_per_element(Format::kBF16), 2);
  EXPECT_EQ(bytes_per_element(Format::kF16), 2);
  EXPECT_EQ(bytes_per_element(Format::kF8E4M3), 1);
  EXPECT_EQ(to_string(Format::kI8), "I8");
  EXPECT_EQ(to_string(Format::kI4), "I4");
  EXPECT_EQ(bytes_per_element(Format::kI8), 1);
}

TEST(Weight, CountsItsBytes) {
  for (const Format format : {Format::kF32, Format::kBF16, Format::kF16, Format::kF8E4M3}) {
    const Weight w{.name = "w", .format = format, .out_features = 7, .in_features = 5};
    EXPECT_EQ(w.bytes(), 35 * bytes_per_element(format));
    EXPECT_TRUE(w.empty());
  }
}

TEST(Weight, RowsOfFourBitNumbersAreWholeBlocks) {
  EXPECT_EQ(bytes_per_row(Format::kI4, 128), 64);
  EXPECT_EQ(bytes_per_row(Format::kI4, 65), 64);
  EXPECT_EQ(bytes_per_row(Format::kI4, 1), 32);
  EXPECT_EQ(bytes_per_row(Format::kBF16, 65), 130);
  const std::vector<std::byte> data(3 * 64);
  const Weight w{
      .name = "w", .format = Format::kI4, .out_features = 3, .in_features = 100, .data = data.data()};
  EXPECT_EQ(w.bytes(), 3 * 64);
  EXPECT_EQ(w.rows(2, 1).data, data.data() + 2 * 64);
}

TEST(Weight, ScaleColumnsAreRoundedUp) {
  const float scale = 1.0F;
  Weight w{.name = "w", .in_features = 129, .scale = &scale, .block_rows = 128, .block_cols = 128};
  EXPECT_EQ(w.scale_cols(), 2);
  w.in_features = 128;
  EXPECT_EQ(w.scale_cols(), 1);
  w.scale = nullptr;
  EXPECT_EQ(w.scale_cols(), 0);
}

TEST(Weight, RowsShareTheScalesOfTheStoredTensor) {
  const std::vector<std::byte> data(10 * 6);
  const float scale = 1.0F;
  const Weight w{.name = "w",
                 .format = Format::kBF16,
                 .out_features = 10,
                 .in_features = 3,
                 .data = data.data(),
                 .scale = &scale,
                 .block_rows = 4,
                 .block_cols = 2};
  const Weight part = w.rows(2, 6).rows(3, 2);
  EXPECT_EQ(part.data, data.data() + 5 * 3 * 2);
  EXPECT_EQ(part.out_features, 2);
  EXPECT_EQ(part.in_features, 3);
  EXPECT_EQ(part.first_row, 5);
  EXPECT_EQ(part.scale, w.scale);
  EXPECT_EQ(part.name, "w");
  EXPECT_FALSE(part.empty());
}

}  // namespace
}  // namespace hadal
