#include <cmath>
#include <limits>
#include <string_view>

#include <gtest/gtest.h>

#include "hadal/kernels/kernel_table.h"
#include "hadal/kernels/pack.h"
#include "hadal/kernels/test_guarded.h"
#include "hadal/kernels/test_weight.h"

namespace hadal::kernels {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kGuard = 12345.0F;  // outside of what a call may write
constexpr int64_t kSlack = 3;       // columns between the end of a row and the next one

// Half a unit in the last place of FP32, relative: what one addition or multiplication may be off.
constexpr double kRounding = 0x1p-24;

struct Shape {
  int64_t m = 1, n = 1, k = 1;
  int64_t block_rows = 0, block_cols = 0;  // 0: no scales
  int64_t first_row = 0;                   // of the stored weight, where the product begins
  bool a_scale = false;
};

std::ostream& operator<<(std::ostream& out, const Shape& s) {
  return out << s.m << " x " << s.n << " x " << s.k << ", blocks of " << s.block_rows << " x " << s.block_cols
             << ", from row " << s.first_row << (s.a_scale ? ", scaled activations" : "");
}

// Operands and result of one product. Rows of a are packed by hand, as GemmArgs wants them.
class Product {
 public:
  Product(const Shape& shape, Format format, uint32_t seed)
      : shape_(shape),
        random_(seed),
        format_(format),
        weight_(random_, format, shape.first_row + shape.n, shape.k, shape.block_rows, shape.block_cols),
        guarded_(weight_.weight().data, weight_.weight().bytes()),
        block_(shape.block_rows > 0 ? shape.block_cols : kPlainBlock),
        x_({shape.m, shape.k}),
        a_({shape.m, packed_width(shape.k, block_) + kSlack}),
        a_scale_({shape.m, num_blocks(shape.k, block_)}),
        c_({shape.m + 1, shape.n + kSlack}) {
    x_.values() = random_.uniform_vector(shape.m * shape.k, -1.0F, 1.0F);
    a_scale_.values() = random_.uniform_vector(shape.m * a_scale_.shape()[1], 0.1F, 2.0F);
    for (int64_t i = 0; i < shape.m; ++i) pack(i);
    for (int64_t i = 0; i <= shape.m; ++i) {
      for (int64_t j = 0; j < c_.shape()[1]; ++j)
        c_.view()[i][j] = i < shape.m && j < shape.n ? kNaN : kGuard;
    }
  }

  // Rows [row, row + rows) times weight rows [col, col + cols), into their place of c.
  void compute(const KernelTable& table, int64_t row, int64_t rows, int64_t col, int64_t cols) {
    Weight w = weight_.weight();
    w.data = guarded_.data();
    w = w.rows(shape_.first_row + col, cols);
    GemmArgs args;
    args.a = a_.view()[row].data;
    args.lda = a_.shape()[1];
    if (shape_.a_scale) args.a_scale = a_scale_.view()[row].data;
    args.w = w.data;
    args.w_scale = w.scale;
    args.w_scale_stride = w.scale_cols();
    args.block_rows = w.scale ? w.block_rows : 1;
    args.first_row = w.first_row;
    args.block = block_;
    args.c = &c_.view()[row][col];
    args.ldc = c_.shape()[1];
    args.m = rows;
    args.n = cols;
    args.k = shape_.k;
    table.gemm[index_of(format_)](args);
  }
  void compute(const KernelTable& table) { compute(table, 0, shape_.m, 0, shape_.n); }

  const std::vector<float>& result() const { return c_.values(); }

  void expect_close_to_double() const {
    // A term meets the rounding of its product, of its lane's additions, of the tree of 3, of two scales, and of one
    // addition a block.
    const int64_t blocks = num_blocks(shape_.k, std::min(block_, kPlainBlock));
    const double roundings = static_cast<double>(std::min(shape_.k, kPlainBlock) / kLanes + blocks + 8);
    for (int64_t i = 0; i < shape_.m; ++i) {
      for (int64_t j = 0; j < shape_.n; ++j) {
        double exact = 0.0, magnitude = 0.0;
        for (int64_t k = 0; k < shape_.k; ++k) {
          const double scale = shape_.a_scale ? a_scale_.view()[i][k / block_] : 1.0F;
          const double term = x_.view()[i][k] * scale * weight_.value(shape_.first_row + j, k);
          exact += term;
          magnitude += std::fabs(term);
        }
        ASSERT_NEAR(c_.view()[i][j], exact, roundings * kRounding * magnitude)
            << "element " << i << ", " << j;
      }
    }
  }

  void expect_guards_untouched() const {
    for (int64_t i = 0; i <= shape_.m; ++i) {
      for (int64_t j = i < shape_.m ? shape_.n : 0; j < c_.shape()[1]; ++j)
        ASSERT_EQ(c_.view()[i][j], kGuard);
    }
  }

  // Element (i, j) in the reference row's order of additions, and in that of a row with `lanes` floats in a vector.
  float reference_model(int64_t i, int64_t j) const;
  float vector_model(int64_t i, int64_t j, int64_t lanes) const;
  void expect_equal_to_scalar_model(int64_t lanes) const;

 private:
  void pack(int64_t i) {
    const Vec<float> row = a_.view()[i];
    std::fill_n(row.data, row.shape[0], 0.0F);
    std::fill_n(row.data + row.shape[0] - kSlack, kSlack, kNaN);  // not part of the packed row
    for (int64_t k = 0; k < shape_.k; ++k) row[k / block_ * padded(block_) + k % block_] = x_.view()[i][k];
  }

  Shape shape_;
  TestRandom random_;
  Format format_;
  TestWeight weight_;
  Guarded guarded_;
  int64_t block_;
  Tensor<float, 2> x_, a_, a_scale_, c_;
};

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const int64_t k : {1, 7, 8, 9, 40, 511, 512, 513, 1030}) {
    for (const int64_t n : {1, 2, 7, 8, 9, 17}) all.push_back({.m = 3, .n = n, .k = k});
  }
  for (const int64_t m : {1, 2, 4, 5, 13, 24, 51}) all.push_back({.m = m, .n = 9, .k = 100});
  return all;
}

// FP8 only: in the other formats weights have no scales.
std::vector<Shape> scaled_shapes() {
  std::vector<Shape> all;
  const int64_t blocks[][2] = {{96, 40}, {128, 128}, {3, 8}, {5, 13}, {2, 600}, {1, 1}};
  for (const auto& [rows, cols] : blocks) {
    for (const int64_t k : {1, 40, 41, 128, 300, 1300}) {
      for (const int64_t first_row : {0, 1, 95}) {
        for (const bool a_scale : {false, true}) {
          all.push_back({.m = 3,
                         .n = 11,
                         .k = k,
                         .block_rows = rows,
                         .block_cols = cols,
                         .first_row = first_row,
                         .a_scale = a_scale});
        }
      }
    }
  }
  return all;
}

template <class Check>
void for_each_product(const Check& check) {
  for (const KernelTable* table : runnable_tables()) {
    for (const Format format : kAllFormats) {
      for (const Shape& shape : format == Format::kF8E4M3 ? scaled_shapes() : shapes()) {
        SCOPED_TRACE(testing::Message() << table->isa << ", " << to_string(format) << ", " << shape);
        check(*table, shape, format);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
    for (const Shape& shape : shapes()) check(*table, shape, Format::kF8E4M3);
  }
}

TEST(Gemm, IsTheProduct) {
  for_each_product([](const KernelTable& table, const Shape& shape, Format format) {
    Product product(shape, format, 1);
    product.compute(table);
    product.expect_close_to_double();
    product.expect_guards_untouched();
  });
}

// c is written, not added to: a second call gives the same again.
TEST(Gemm, Overwrites) {
  for_each_product([](const KernelTable& table, const Shape& shape, Format format) {
    Product product(shape, format, 2);
    product.compute(table);
    const std::vector<float> once = product.result();
    product.compute(table);
    ASSERT_EQ(product.result(), once);
  });
}

// The promise under everything that is bit-identical above: an element's bits do not depend on the rows beside it, nor
// on which part of the columns a call computes.
TEST(Gemm, RowsAloneHaveTheBitsOfABatch) {
  for_each_product([](const KernelTable& table, const Shape& shape, Format format) {
    Product together(shape, format, 3), alone(shape, format, 3), shifted(shape, format, 3);
    together.compute(table);
    for (int64_t i = 0; i < shape.m; ++i) alone.compute(table, i, 1, 0, shape.n);
    shifted.compute(table, 0, 1, 0, shape.n);  // pairs of rows that a batch does not have as pairs
    if (shape.m > 1) shifted.compute(table, 1, shape.m - 1, 0, shape.n);
    ASSERT_EQ(alone.result(), together.result());
    ASSERT_EQ(shifted.result(), together.result());
  });
}

TEST(Gemm, ColumnsInPartsHaveTheBitsOfTheWhole) {
  for_each_product([](const KernelTable& table, const Shape& shape, Format format) {
    Product whole(shape, format, 4);
    whole.compute(table);
    for (const int64_t part : {1, 3, 8}) {
      Product parts(shape, format, 4);
      for (int64_t j = 0; j < shape.n; j += part)
        parts.compute(table, 0, shape.m, j, std::min(part, shape.n - j));
      ASSERT_EQ(parts.result(), whole.result()) << "parts of " << part;
    }
  });
}

// What lies in one block of scales, and no more than 512 columns: [begin, end of it).
int64_t end_of_piece(int64_t begin, int64_t block, int64_t k) {
  const int64_t in_block = begin % block;
  return std::min({k, begin - in_block + block, begin + kPlainBlock - in_block % kPlainBlock});
}

// The order of additions that GemmArgs and lanes.h promise, one float at a time.
float Product::reference_model(int64_t i, int64_t j) const {
  const int64_t row = shape_.first_row + j;
  float total = 0.0F;
  for (int64_t begin = 0, end = 0; begin < shape_.k; begin = end) {
    end = end_of_piece(begin, block_, shape_.k);
    float lane[kLanes] = {};
    for (int64_t k = begin; k < end; ++k) {
      const auto unscaled = static_cast<float>(weight_.value(row, k) / weight_.scale_at(row, k));
      lane[(k - begin) % kLanes] += x_.view()[i][k] * unscaled;
    }
    float dot = ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
    if (shape_.a_scale) dot *= a_scale_.view()[i][begin / block_];
    dot *= weight_.scale_at(row, begin);
    total = begin == 0 ? dot : total + dot;
  }
  return total;
}

// The order of gemm_float.inc: fused, lane by lane, halves of the lanes added last.
float Product::vector_model(int64_t i, int64_t j, int64_t lanes) const {
  const int64_t row = shape_.first_row + j;
  std::vector<float> total(static_cast<size_t>(lanes), 0.0F);
  for (int64_t begin = 0, end = 0; begin < shape_.k; begin = end) {
    end = end_of_piece(begin, block_, shape_.k);
    std::vector<float> sum(static_cast<size_t>(lanes), 0.0F);
    for (int64_t k = begin; k < end; ++k) {
      const auto unscaled = static_cast<float>(weight_.value(row, k) / weight_.scale_at(row, k));
      float& lane = sum[static_cast<size_t>((k - begin) % lanes)];
      lane = std::fma(unscaled, x_.view()[i][k], lane);
    }
    for (size_t l = 0; l < total.size(); ++l)
      total[l] = std::fma(sum[l], weight_.scale_at(row, begin), total[l]);
  }
  for (size_t half = total.size() / 2; half > 0; half /= 2) {
    for (size_t l = 0; l < half; ++l) total[l] += total[l + half];
  }
  return total[0];
}

void Product::expect_equal_to_scalar_model(int64_t lanes) const {
  for (int64_t i = 0; i < shape_.m; ++i) {
    for (int64_t j = 0; j < shape_.n; ++j) {
      const bool in_reference_order = lanes == 0 || shape_.a_scale;
      const float expected = in_reference_order ? reference_model(i, j) : vector_model(i, j, lanes);
      ASSERT_EQ(c_.view()[i][j], expected) << "element " << i << ", " << j;
    }
  }
}

// Floats in a row's vectors; 0: the reference row.
int64_t lanes_of(const KernelTable& table) {
  const std::string_view isa = table.isa;
  if (isa == "ref") return 0;
  return isa.starts_with("avx2") ? 8 : 16;
}

TEST(Gemm, AddsInTheOrderThatIsWrittenDown) {
  for_each_product([](const KernelTable& table, const Shape& shape, Format format) {
    Product product(shape, format, 5);
    product.compute(table);
    product.expect_equal_to_scalar_model(lanes_of(table));
  });
}

}  // namespace
}  // namespace hadal::kernels
