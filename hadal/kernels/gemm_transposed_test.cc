#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "hadal/kernels/kernel_table.h"
#include "hadal/kernels/test_guarded.h"
#include "hadal/kernels/test_weight.h"

namespace hadal::kernels {
namespace {

constexpr float kGuard = 12345.0F;
constexpr double kRounding = 0x1p-24;  // of one FP32 operation, relative

struct Shape {
  int64_t m = 1, rows = 1, cols = 1;
  int64_t block_rows = 0, block_cols = 0, first_row = 0;
};

std::ostream& operator<<(std::ostream& out, const Shape& s) {
  return out << s.m << " x " << s.rows << " x " << s.cols << ", blocks of " << s.block_rows << " x "
             << s.block_cols << ", from row " << s.first_row;
}

class Product {
 public:
  Product(const Shape& shape, Format format, uint32_t seed)
      : shape_(shape),
        random_(seed),
        format_(format),
        weight_(random_, format, shape.first_row + shape.rows, shape.cols, shape.block_rows,
                shape.block_cols),
        guarded_(weight_.weight().data, weight_.weight().bytes()),
        a_({shape.m, shape.rows + 2}),
        c_({shape.m + 1, shape.cols + 3}) {
    a_.values() = random_.uniform_vector(shape.m * a_.shape()[1], -1.0F, 1.0F);
    std::ranges::fill(c_.values(), kGuard);
  }

  void compute(const KernelTable& table, int64_t row, int64_t count) {
    Weight w = weight_.weight();
    w.data = guarded_.data();
    w = w.rows(shape_.first_row, shape_.rows);
    GemmTransposedArgs args;
    args.a = a_.view()[row].data;
    args.lda = a_.shape()[1];
    args.w = w.data;
    args.w_scale = w.scale;
    args.w_scale_stride = w.scale_cols();
    args.block_rows = w.scale ? w.block_rows : 1;
    args.block_cols = w.scale ? w.block_cols : 1;
    args.first_row = w.first_row;
    args.group_code = w.group_code;
    args.group = w.group;
    args.group_cols = w.group_cols();
    args.c = c_.view()[row].data;
    args.ldc = c_.shape()[1];
    args.m = count;
    args.rows = shape_.rows;
    args.cols = shape_.cols;
    table.gemm_transposed[index_of(format_)](args);
  }

  void expect_close_to_double() const {
    // One addition a row; each term is rounded at its scale and at its product.
    const double roundings = static_cast<double>(shape_.rows + 3);
    for (int64_t i = 0; i <= shape_.m; ++i) {
      for (int64_t r = 0; r < c_.shape()[1]; ++r) {
        if (i == shape_.m || r >= shape_.cols) {
          ASSERT_EQ(c_.view()[i][r], kGuard);
          continue;
        }
        double exact = 0.0, magnitude = 0.0;
        for (int64_t j = 0; j < shape_.rows; ++j) {
          const double term = a_.view()[i][j] * weight_.value(shape_.first_row + j, r);
          exact += term;
          magnitude += std::fabs(term);
        }
        ASSERT_NEAR(c_.view()[i][r], exact, roundings * kRounding * magnitude) << i << ", " << r;
      }
    }
  }
  const std::vector<float>& result() const { return c_.values(); }

 private:
  Shape shape_;
  TestRandom random_;
  Format format_;
  TestWeight weight_;
  Guarded guarded_;
  Tensor<float, 2> a_, c_;
};

std::vector<Shape> shapes(Format format) {
  std::vector<Shape> all = {{1, 1, 1},   {2, 5, 9},     {3, 16, 64}, {1, 128, 512},
                            {5, 3, 513}, {2, 33, 1030}, {9, 7, 273}};
  if (format == Format::kI8) all.push_back({2, 20, 300, 1, 128, 3});
  if (format != Format::kF8E4M3) return all;
  const int64_t blocks[][2] = {{96, 40}, {128, 128}, {3, 8}, {7, 700}, {1, 1}};
  for (const auto& [rows, cols] : blocks) {
    for (const int64_t first_row : {0, 2, 95}) {
      all.push_back({3, 10, 129, rows, cols, first_row});
      all.push_back({1, 130, 1401, rows, cols, first_row});
    }
  }
  return all;
}

TEST(GemmTransposed, IsTheProductWithTheOtherSide) {
  for (const KernelTable* table : runnable_tables()) {
    for (const Format format : kFloatAndIntegerFormats) {
      for (const Shape& shape : shapes(format)) {
        SCOPED_TRACE(testing::Message() << table->isa << ", " << to_string(format) << ", " << shape);
        Product product(shape, format, 1);
        product.compute(*table, 0, shape.m);
        product.expect_close_to_double();
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(GemmTransposed, RowsAloneHaveTheBitsOfABatch) {
  for (const KernelTable* table : runnable_tables()) {
    for (const Format format : kFloatAndIntegerFormats) {
      for (const Shape& shape : shapes(format)) {
        Product together(shape, format, 2), alone(shape, format, 2);
        together.compute(*table, 0, shape.m);
        for (int64_t i = 0; i < shape.m; ++i) alone.compute(*table, i, 1);
        ASSERT_EQ(alone.result(), together.result()) << to_string(format) << ", " << shape;
      }
    }
  }
}

}  // namespace
}  // namespace hadal::kernels
