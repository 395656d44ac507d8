#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "hadal/core/error.h"

namespace hadal {

/// Non-owning, trivially copyable, last axis contiguous. Strides count elements.
template <class T, int Rank>
struct View {
  T* data = nullptr;
  std::array<int64_t, Rank> shape{};
  std::array<int64_t, Rank> stride{};

  View() = default;
  View(T* first, std::array<int64_t, Rank> extents) : data(first), shape(extents) {
    int64_t step = 1;
    for (int axis = Rank - 1; axis >= 0; --axis) {
      stride[static_cast<size_t>(axis)] = step;
      step *= shape[static_cast<size_t>(axis)];
    }
  }
  View(T* first, std::array<int64_t, Rank> extents, std::array<int64_t, Rank> strides)
      : data(first), shape(extents), stride(strides) {}

  /// View<float> converts to View<const float>.
  operator View<const T, Rank>() const  // NOLINT(google-explicit-constructor): adding const is always right
      requires(!std::is_const_v<T>) {
    return {data, shape, stride};
  }

  int64_t size(int axis) const { return shape[static_cast<size_t>(axis)]; }

  /// The i-th slice along the first axis; for a Vec the element itself.
  decltype(auto) operator[](int64_t i) const {
    HADAL_DCHECK(i >= 0 && i < shape[0], "index {} outside [0, {})", i, shape[0]);
    if constexpr (Rank == 1) {
      return static_cast<T&>(data[i]);
    } else {
      View<T, Rank - 1> slice;
      slice.data = data + i * stride[0];
      for (size_t axis = 1; axis < Rank; ++axis) {
        slice.shape[axis - 1] = shape[axis];
        slice.stride[axis - 1] = stride[axis];
      }
      return slice;
    }
  }

  /// Rows [begin, begin + count) of the first axis.
  View rows(int64_t begin, int64_t count) const {
    HADAL_DCHECK(begin >= 0 && count >= 0 && begin + count <= shape[0], "rows [{}, {}) of {}", begin,
                 begin + count, shape[0]);
    View part = *this;
    part.data += begin * stride[0];
    part.shape[0] = count;
    return part;
  }

  /// Columns [begin, begin + count) of the last axis.
  View slice_last(int64_t begin, int64_t count) const {
    HADAL_DCHECK(begin >= 0 && count >= 0 && begin + count <= shape[Rank - 1], "columns [{}, {}) of {}",
                 begin, begin + count, shape[Rank - 1]);
    View part = *this;
    part.data += begin;
    part.shape[Rank - 1] = count;
    return part;
  }
};

template <class T>
using Vec = View<T, 1>;
template <class T>
using Mat = View<T, 2>;
template <class T>
using Cube = View<T, 3>;

/// [T, H * D] seen as [T, H, D].
template <class T>
Cube<T> split_heads(Mat<T> x, int64_t heads) {
  HADAL_CHECK(heads > 0 && x.shape[1] % heads == 0, "{} columns do not split into {} heads", x.shape[1],
              heads);
  const int64_t width = x.shape[1] / heads;
  return {x.data, {x.shape[0], heads, width}, {x.stride[0], width, 1}};
}

/// [T, H, D] with contiguous heads seen as [T, H * D].
template <class T>
Mat<T> flatten_heads(Cube<T> x) {
  HADAL_CHECK(x.stride[1] == x.shape[2], "heads are {} apart and {} wide", x.stride[1], x.shape[2]);
  return {x.data, {x.shape[0], x.shape[1] * x.shape[2]}, {x.stride[0], 1}};
}

/// to = from, element by element, whatever the strides. The shapes are the same.
template <class T, int Rank>
void copy(View<T, Rank> from, View<std::remove_const_t<T>, Rank> to) {
  HADAL_CHECK(from.shape == to.shape, "copy: {} to {}", to_string(from.shape), to_string(to.shape));
  if constexpr (Rank == 1) {
    std::copy_n(from.data, from.shape[0], to.data);
  } else {
    for (int64_t i = 0; i < from.shape[0]; ++i) copy(from[i], to[i]);
  }
}

/// Owns what its views show. Zero-initialised.
template <class T, int Rank>
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(std::array<int64_t, Rank> shape) : shape_(shape) {
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    values_.resize(static_cast<size_t>(count));
  }
  View<T, Rank> view() { return {values_.data(), shape_}; }
  View<const T, Rank> view() const { return {values_.data(), shape_}; }
  const std::array<int64_t, Rank>& shape() const { return shape_; }
  std::vector<T>& values() { return values_; }
  const std::vector<T>& values() const { return values_; }

 private:
  std::array<int64_t, Rank> shape_{};
  std::vector<T> values_;
};

}  // namespace hadal
