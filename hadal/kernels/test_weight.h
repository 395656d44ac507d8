#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "hadal/core/test_formats.h"
#include "hadal/core/test_random.h"
#include "hadal/core/view.h"
#include "hadal/core/weight.h"

namespace hadal::kernels {

inline constexpr Format kAllFormats[] = {Format::kF32, Format::kBF16, Format::kF16, Format::kF8E4M3};

inline constexpr Format kIntegerFormats[] = {Format::kI8, Format::kI4};
inline constexpr Format kFloatAndIntegerFormats[] = {Format::kF32,    Format::kBF16, Format::kF16,
                                                     Format::kF8E4M3, Format::kI8,   Format::kI4};

/// A random weight as a checkpoint stores it, and what it means: its values in double, scales applied.
class TestWeight {
 public:
  /// kI8: block_cols is the width of a scale's group, 0: a whole row. kI4: it is the width of an integer group, 0: 64.
  TestWeight(TestRandom& random, Format format, int64_t rows, int64_t cols, int64_t block_rows = 0,
             int64_t block_cols = 0)
      : values_({rows, cols}), format_(format), block_rows_(block_rows), block_cols_(block_cols) {
    if (format == Format::kI4) make_groups(random, block_cols > 0 ? block_cols : 64);
    if (format == Format::kI8 || format == Format::kI4) {
      block_rows_ = 1;
      block_cols_ = format == Format::kI8 && block_cols > 0 ? block_cols : cols;
    }
    data_.resize(static_cast<size_t>(rows * bytes_per_row(format, cols)));
    for (int64_t i = 0; i < rows * cols; ++i) values_.values()[static_cast<size_t>(i)] = store(random, i);
    if (block_rows_ == 0) return;
    const int64_t scale_rows = (rows + block_rows_ - 1) / block_rows_;
    scale_cols_ = (cols + block_cols_ - 1) / block_cols_;
    scale_ = random.uniform_vector(scale_rows * scale_cols_, 0.001F, 0.01F);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) values_.view()[r][c] *= scale_at(r, c);
    }
  }
  TestWeight(const TestWeight&) = delete;
  TestWeight& operator=(const TestWeight&) = delete;

  Weight weight() const {
    return {.name = "test.weight",
            .format = format_,
            .out_features = values_.shape()[0],
            .in_features = values_.shape()[1],
            .data = data_.data(),
            .scale = scale_.empty() ? nullptr : scale_.data(),
            .block_rows = block_rows_,
            .block_cols = block_cols_,
            .group_code = group_code_.empty() ? nullptr : group_code_.data(),
            .group = group_,
            .first_row = 0};
  }
  double value(int64_t row, int64_t col) const { return values_.view()[row][col]; }
  float scale_at(int64_t row, int64_t col) const {
    if (scale_.empty()) return 1.0F;
    return scale_[static_cast<size_t>(row / block_rows_ * scale_cols_ + col / block_cols_)];
  }

 private:
  // Chooses element i and returns its value, by the format's definition.
  double store(TestRandom& random, int64_t i) {
    switch (format_) {
      case Format::kF32: {
        const float x = random.uniform(-1.0F, 1.0F);
        put(i, x);
        return x;
      }
      case Format::kBF16:
        return put(i, to_bf16(random.uniform(-1.0F, 1.0F)));
      case Format::kF16:  // codes below that of 1, subnormals among them, with either sign
        return put(i, f16{static_cast<uint16_t>(random.below(0x3c00) | random.below(2) << 15)});
      case Format::kF8E4M3:  // all codes but NaN
        return put(i, f8e4m3{static_cast<uint8_t>(random.below(0x7f) | random.below(2) << 7)});
      case Format::kI8: {
        const auto code = static_cast<int8_t>(random.below(255) - 127);
        put_bytes(i, code);
        return code;
      }
      case Format::kI4:
        return put_i4(i / values_.shape()[1], i % values_.shape()[1], static_cast<int>(random.below(16)));
    }
    return 0.0;
  }
  // Every pair of an integer factor and a zero point that keeps the products in 8 bits comes up.
  void make_groups(TestRandom& random, int64_t group) {
    group_ = group;
    group_code_.resize(static_cast<size_t>(values_.shape()[0] * ((values_.shape()[1] + group - 1) / group)));
    for (uint8_t& code : group_code_) {
      const int64_t zero = random.below(16), most = 127 / std::max<int64_t>(zero, 15 - zero);
      code = static_cast<uint8_t>(zero << 4 | (1 + random.below(std::min<int64_t>(most, 15))));
    }
  }
  double put_i4(int64_t row, int64_t col, int code) {
    const int64_t in_block = col % kI4Block;
    std::byte& pair = data_[static_cast<size_t>(row * bytes_per_row(format_, values_.shape()[1]) +
                                                col / kI4Block * (kI4Block / 2) + in_block % (kI4Block / 2))];
    pair |= static_cast<std::byte>(in_block < kI4Block / 2 ? code : code << 4);
    const int64_t groups = (values_.shape()[1] + group_ - 1) / group_;
    const int group = group_code_[static_cast<size_t>(row * groups + col / group_)];
    return (code - (group >> 4)) * (group & 15);
  }
  template <class T>
  void put_bytes(int64_t i, T code) {
    std::memcpy(data_.data() + i * static_cast<int64_t>(sizeof code), &code, sizeof code);
  }
  template <class T>
  double put(int64_t i, T code) {
    put_bytes(i, code);
    if constexpr (std::is_same_v<T, float>) {
      return code;
    } else {
      return exact_value(code);
    }
  }

  Tensor<double, 2> values_;
  Format format_;
  int64_t block_rows_, block_cols_, scale_cols_ = 0;
  std::vector<std::byte> data_;
  std::vector<float> scale_;
  std::vector<uint8_t> group_code_;
  int64_t group_ = 0;
};

}  // namespace hadal::kernels
