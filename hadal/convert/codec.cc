#include "hadal/convert/codec.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "hadal/core/dtype.h"
#include "hadal/core/error.h"
#include "hadal/core/round.h"

namespace hadal::convert {
namespace {

constexpr int kMaxCode = 15, kMaxFactor = 15, kMaxProduct = 127;
constexpr int kSumLanes = 8;

// To the nearest whole number, ties to even, for |x| < 2^22, in a form that compilers vectorise.
float round_to_whole(float x) {
  constexpr float kMagic = 12582912.0F;  // 1.5 * 2^23: the last bit of the sum is worth 1
  return (x + kMagic) - kMagic;
}

float clamped_round(float x, float low, float high) {
  const float bounded = x < low ? low : x;
  return round_to_whole(bounded > high ? high : bounded);
}

float largest_magnitude(std::span<const float> values) {
  float largest = 0.0F;
  for (const float x : values) largest = std::max(largest, std::fabs(x));
  return largest;
}

// One group of a row, while its step is looked for. A step is a whole number of row factors in the end.
struct Group {
  std::span<const float> values;
  int zero = 8;
  float step = 0.0F;    // the best there is, if any step could be had; 0: all values are zero
  double signal = 0.0;  // squares of the values
  int factor = 1;

  int max_factor() const { return std::min(kMaxFactor, kMaxProduct / std::max(zero, kMaxCode - zero)); }

  // Squared error with this step: sums in lanes, so that they vectorise.
  float error(float with_step) const {
    const float inverse = 1.0F / with_step;
    const auto low = static_cast<float>(-zero), high = static_cast<float>(kMaxCode - zero);
    std::array<float, kSumLanes> sums{};
    const size_t whole = values.size() / kSumLanes * kSumLanes;
    for (size_t i = 0; i < whole; i += kSumLanes) {
      for (size_t lane = 0; lane < kSumLanes; ++lane) {
        const float x = values[i + lane];
        const float difference = x - clamped_round(x * inverse, low, high) * with_step;
        sums[lane] += difference * difference;
      }
    }
    for (size_t i = whole; i < values.size(); ++i) {
      const float difference = values[i] - clamped_round(values[i] * inverse, low, high) * with_step;
      sums[i - whole] += difference * difference;
    }
    float sum = 0.0F;
    for (const float part : sums) sum += part;
    return sum;
  }
};

// The step that is best for the group alone: the one that just reaches its largest weight, or a smaller one that cuts it
// off and is finer for all others.
Group make_group(std::span<const float> values) {
  constexpr std::array<float, 8> kShares = {1.0F, 0.96F, 0.92F, 0.88F, 0.84F, 0.8F, 0.76F, 0.72F};
  Group group;
  group.values = values;
  const auto [low, high] = std::ranges::minmax(values);
  group.zero = high > -low ? 7 : 8;
  const float largest = std::max(high, -low);
  if (!(largest > kSmallestWeight)) return group;
  for (const float x : values) group.signal += static_cast<double>(x) * x;
  float least = std::numeric_limits<float>::infinity();
  group.step = largest / 8.0F;
  for (const float share : kShares) {
    const float step = largest / 8.0F * share, error = group.error(step);
    if (error >= least) continue;
    least = error;
    group.step = step;
  }
  return group;
}

int nearest_factor(const Group& group, float row_factor) {
  const auto wanted = static_cast<int>(std::lround(std::min(group.step / row_factor, 1000.0F)));
  return std::clamp(wanted, 1, group.max_factor());
}

// The row factor of which the groups' steps are multiples with the least loss: by how much a step is off, relative to
// itself, times the squares of the weights.
float choose_row_factor(const std::vector<Group>& groups) {
  constexpr int kTries = 24;
  float smallest = 0.0F;  // that no group's factor goes beyond its limit
  for (const Group& g : groups) smallest = std::max(smallest, g.step / static_cast<float>(g.max_factor()));
  float best = smallest;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kTries; ++i) {
    const float row_factor = smallest * (1.0F + static_cast<float>(i) / kTries);
    double loss = 0.0;
    for (const Group& g : groups) {
      if (g.step == 0.0F) continue;
      const double off =
          static_cast<double>(static_cast<float>(nearest_factor(g, row_factor)) * row_factor) / g.step - 1.0;
      loss += off * off * g.signal;
    }
    if (loss >= least) continue;
    least = loss;
    best = row_factor;
  }
  return best;
}

// Of the factors about the wanted one, that with the least error.
void choose_factor(Group& group, float row_factor) {
  if (group.step == 0.0F) return;
  const int middle = nearest_factor(group, row_factor);
  float least = std::numeric_limits<float>::infinity();
  for (int factor = std::max(1, middle - 1); factor <= std::min(group.max_factor(), middle + 1); ++factor) {
    const float error = group.error(static_cast<float>(factor) * row_factor);
    if (error >= least) continue;
    least = error;
    group.factor = factor;
  }
}

// With all whole numbers decided, the row factor with the least squared error.
float refine_row_factor(const std::vector<Group>& groups, float row_factor) {
  double products = 0.0, squares = 0.0;
  for (const Group& g : groups) {
    const auto low = static_cast<float>(-g.zero), high = static_cast<float>(kMaxCode - g.zero);
    const auto factor = static_cast<float>(g.factor);
    const float inverse = 1.0F / (factor * row_factor);
    for (const float x : g.values) {
      const double whole = clamped_round(x * inverse, low, high) * factor;
      products += whole * x;
      squares += whole * whole;
    }
  }
  return squares > 0.0 ? static_cast<float>(products / squares) : row_factor;
}

void put_code(std::span<std::byte> codes, int64_t k, int code) {
  std::byte& byte = codes[static_cast<size_t>(k / kI4Block * (kI4Block / 2) + k % (kI4Block / 2))];
  byte |= static_cast<std::byte>(k % kI4Block < kI4Block / 2 ? code : code << 4);
}

}  // namespace

float quantize_row_i8(std::span<const float> row, std::span<std::byte> codes) {
  HADAL_CHECK(codes.size() == row.size(), "{} codes for {} weights", codes.size(), row.size());
  const float largest = largest_magnitude(row);
  if (!(largest > kSmallestWeight)) {
    std::ranges::fill(codes, std::byte{0});
    return 0.0F;
  }
  const float scale = largest / 127.0F, inverse = 1.0F / scale;
  for (size_t k = 0; k < row.size(); ++k) {
    codes[k] = static_cast<std::byte>(static_cast<int8_t>(clamped_round(row[k] * inverse, -127.0F, 127.0F)));
  }
  return scale;
}

float quantize_row_i4(std::span<const float> row, int64_t group, std::span<std::byte> codes,
                      std::span<std::byte> groups) {
  const auto cols = static_cast<int64_t>(row.size());
  HADAL_CHECK(static_cast<int64_t>(codes.size()) == bytes_per_row(Format::kI4, cols) &&
                  static_cast<int64_t>(groups.size()) == ceil_div(cols, group),
              "{} and {} bytes for {} weights in groups of {}", codes.size(), groups.size(), cols, group);
  std::vector<Group> parts;
  for (int64_t begin = 0; begin < cols; begin += group) {
    parts.push_back(make_group(
        row.subspan(static_cast<size_t>(begin), static_cast<size_t>(std::min(group, cols - begin)))));
  }
  float row_factor = choose_row_factor(parts);
  if (row_factor > 0.0F) {
    for (Group& part : parts) choose_factor(part, row_factor);
    row_factor = refine_row_factor(parts, row_factor);
  }
  std::ranges::fill(codes, std::byte{0});
  for (size_t g = 0; g < parts.size(); ++g) {
    groups[g] = static_cast<std::byte>(parts[g].factor | parts[g].zero << 4);
  }
  const auto stored = static_cast<int64_t>(codes.size()) * 2;
  for (int64_t k = 0; k < stored; ++k) {
    const Group& part = parts[static_cast<size_t>(std::min(k, cols - 1) / group)];
    const float step = static_cast<float>(part.factor) * row_factor;
    const bool is_zero = k >= cols || row_factor == 0.0F;
    const float whole =
        is_zero ? 0.0F
                : clamped_round(row[static_cast<size_t>(k)] / step, static_cast<float>(-part.zero),
                                static_cast<float>(kMaxCode - part.zero));
    put_code(codes, k, static_cast<int>(whole) + part.zero);
  }
  return row_factor;
}

Grid grid_of(const Weight& w, int64_t n) {
  const int64_t row = w.first_row + n;
  const float* scale = w.scale + row * w.scale_cols();
  Grid grid(w.in_features);
  for (int64_t k = 0; k < w.in_features; ++k) {
    const auto at = static_cast<size_t>(k);
    const int code = w.format == Format::kI4 ? w.group_code[row * w.group_cols() + k / w.group] : 1;
    const int zero = w.format == Format::kI4 ? code >> 4 : 127, highest = w.format == Format::kI4 ? 15 : 254;
    grid.step[at] = static_cast<float>(code & 15) * scale[k / w.block_cols];
    grid.low[at] = static_cast<float>(-zero);
    grid.high[at] = static_cast<float>(highest - zero);
  }
  return grid;
}

void store_codes(const Weight& w, int64_t n, std::span<const float> codes, std::span<std::byte> row) {
  if (w.format == Format::kI8) {
    std::ranges::transform(codes, row.begin(),
                           [](float c) { return static_cast<std::byte>(static_cast<int8_t>(c)); });
    return;
  }
  const uint8_t* groups = w.group_code + (w.first_row + n) * w.group_cols();
  std::ranges::fill(row, std::byte{0});
  for (int64_t k = 0; k < static_cast<int64_t>(row.size()) * 2; ++k) {
    const int zero = groups[std::min(k, w.in_features - 1) / w.group] >> 4;
    put_code(row, k, (k < w.in_features ? static_cast<int>(codes[static_cast<size_t>(k)]) : 0) + zero);
  }
}

float quantize_block_f8(const float* values, int64_t rows, int64_t cols, int64_t stride, std::byte* codes) {
  float largest = 0.0F;
  for (int64_t r = 0; r < rows; ++r) {
    largest = std::max(largest, largest_magnitude({values + r * stride, static_cast<size_t>(cols)}));
  }
  constexpr float kMaxF8 = 448.0F;
  const float scale = largest > kSmallestWeight ? largest / kMaxF8 : 1.0F;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      codes[r * stride + c] = static_cast<std::byte>(to_f8e4m3(values[r * stride + c] / scale).bits);
    }
  }
  return scale;
}

}  // namespace hadal::convert
