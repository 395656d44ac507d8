#include "hadal/core/view.h"

#include <numeric>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"

namespace hadal {
namespace {

// The numbers 0, 1, 2, ... in row-major order.
template <int Rank>
Tensor<int, Rank> counting(std::array<int64_t, Rank> shape) {
  Tensor<int, Rank> tensor(shape);
  std::iota(tensor.values().begin(), tensor.values().end(), 0);
  return tensor;
}

TEST(View, IsRowMajor) {
  auto cube = counting<3>({2, 3, 4});
  const Cube<int> view = cube.view();
  EXPECT_EQ(view.stride, (std::array<int64_t, 3>{12, 4, 1}));
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      for (int64_t k = 0; k < 4; ++k) EXPECT_EQ(view[i][j][k], 12 * i + 4 * j + k);
    }
  }
  EXPECT_EQ(view.size(0), 2);
  EXPECT_EQ(view.size(2), 4);
}

TEST(View, WritesThrough) {
  auto mat = counting<2>({2, 2});
  mat.view()[1][0] = 40;
  EXPECT_EQ(mat.values(), (std::vector<int>{0, 1, 40, 3}));
}

TEST(View, RowsAndColumnsAreWindows) {
  auto mat = counting<2>({4, 5});
  const Mat<int> window = mat.view().rows(1, 2).slice_last(2, 3);
  EXPECT_EQ(window.shape, (std::array<int64_t, 2>{2, 3}));
  EXPECT_EQ(window.stride, (std::array<int64_t, 2>{5, 1}));
  EXPECT_EQ(window[0][0], 7);
  EXPECT_EQ(window[1][2], 14);
  EXPECT_EQ(mat.view().rows(4, 0).shape[0], 0);
  auto cube = counting<3>({2, 3, 4});
  EXPECT_EQ(cube.view().slice_last(1, 2)[1][2][0], 12 + 8 + 1);
  EXPECT_EQ(cube.view().rows(1, 1)[0][0][0], 12);
}

TEST(View, BecomesConst) {
  auto mat = counting<2>({2, 3});
  const Mat<const int> view = mat.view();
  EXPECT_EQ(view[1][2], 5);
  static_assert(!std::is_convertible_v<Mat<const int>, Mat<int>>);
}

TEST(SplitHeads, SeesColumnsAsHeads) {
  auto mat = counting<2>({2, 12});
  const Mat<int> window = mat.view().slice_last(2, 6);  // strides stay those of the whole rows
  const Cube<int> heads = split_heads(window, 3);
  EXPECT_EQ(heads.shape, (std::array<int64_t, 3>{2, 3, 2}));
  for (int64_t t = 0; t < 2; ++t) {
    for (int64_t h = 0; h < 3; ++h) EXPECT_EQ(heads[t][h][1], window[t][2 * h + 1]);
  }
  EXPECT_TRUE(contains(error_of(ErrorKind::kInternal, [&] { split_heads(mat.view(), 5); }),
                       "12 columns do not split into 5 heads"));
  error_of(ErrorKind::kInternal, [&] { split_heads(mat.view(), 0); });
}

TEST(FlattenHeads, UndoesSplitHeads) {
  auto mat = counting<2>({3, 8});
  const Mat<int> window = mat.view().slice_last(0, 6);
  const Mat<int> flat = flatten_heads(split_heads(window, 2));
  EXPECT_EQ(flat.data, window.data);
  EXPECT_EQ(flat.shape, window.shape);
  EXPECT_EQ(flat.stride, window.stride);
  const Cube<int> gaps = split_heads(mat.view(), 2).slice_last(0, 3);
  EXPECT_TRUE(
      contains(error_of(ErrorKind::kInternal, [&] { flatten_heads(gaps); }), "heads are 4 apart and 3 wide"));
}

TEST(Copy, FollowsStrides) {
  const auto from = counting<3>({2, 3, 4});
  Tensor<int, 3> to({2, 3, 6});
  copy(from.view(), to.view().slice_last(1, 4));
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      for (int64_t k = 0; k < 6; ++k) {
        const int64_t expected = k == 0 || k == 5 ? 0 : 12 * i + 4 * j + k - 1;
        EXPECT_EQ(to.view()[i][j][k], expected);
      }
    }
  }
}

TEST(Copy, RefusesOtherShapes) {
  const auto from = counting<2>({2, 3});
  Tensor<int, 2> to({3, 2});
  EXPECT_TRUE(contains(error_of(ErrorKind::kInternal, [&] { copy(from.view(), to.view()); }),
                       "copy: [2, 3] to [3, 2]"));
}

TEST(Tensor, StartsAsZeros) {
  const Tensor<float, 2> tensor({3, 4});
  EXPECT_EQ(tensor.shape(), (std::array<int64_t, 2>{3, 4}));
  EXPECT_EQ(tensor.values(), std::vector<float>(12, 0.0F));
  EXPECT_EQ((Tensor<float, 2>().shape()), (std::array<int64_t, 2>{0, 0}));
}

}  // namespace
}  // namespace hadal
