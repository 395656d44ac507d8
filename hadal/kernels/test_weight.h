#pragma once

#include <cstddef>
#include <cstring>
#include <vector>

#include "hadal/core/test_formats.h"
#include "hadal/core/test_random.h"
#include "hadal/core/view.h"
#include "hadal/core/weight.h"

namespace hadal::kernels {

inline constexpr Format kAllFormats[] = {Format::kF32, Format::kBF16, Format::kF16, Format::kF8E4M3};

/// A random weight as a checkpoint stores it, and what it means: its values in double, scales applied.
class TestWeight {
 public:
  TestWeight(TestRandom& random, Format format, int64_t rows, int64_t cols, int64_t block_rows = 0,
             int64_t block_cols = 0)
      : values_({rows, cols}), format_(format), block_rows_(block_rows), block_cols_(block_cols) {
    data_.resize(static_cast<size_t>(rows * cols * bytes_per_element(format)));
    for (int64_t i = 0; i < rows * cols; ++i) values_.values()[static_cast<size_t>(i)] = store(random, i);
    if (block_rows == 0) return;
    const int64_t scale_rows = (rows + block_rows - 1) / block_rows;
    scale_cols_ = (cols + block_cols - 1) / block_cols;
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
      case Format::kI8:
      case Format::kI4:
        break;
    }
    return 0.0;
  }
  template <class T>
  double put(int64_t i, T code) {
    std::memcpy(data_.data() + i * static_cast<int64_t>(sizeof code), &code, sizeof code);
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
};

}  // namespace hadal::kernels
