#include "fuzz/mutate.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <sstream>

namespace hadal::fuzz {
namespace {

constexpr size_t kMaxInputBytes = 1 << 16;  // repeated repetition must not grow without end

struct Range {
  size_t begin = 0, size = 0;
};

// Short ones are likelier: they leave more of the input intact.
Range pick_range(const std::string& input, Random& random) {
  if (input.empty()) return {};
  const size_t begin = random.below(input.size());
  const size_t longest = random.one_in(4) ? input.size() : 16;
  return {begin, 1 + random.below(std::min(longest, input.size() - begin))};
}

void change_byte(std::string& input, Random& random) {
  if (input.empty()) return;
  char& byte = input[random.below(input.size())];
  byte = random.one_in(2) ? static_cast<char>(byte ^ (1 << random.below(8)))
                          : static_cast<char>(random.below(256));
}

// One draw a statement, here and below: arguments are evaluated in an order of the compiler's choice.
void insert_bytes(std::string& input, Random& random) {
  const size_t count = 1 + random.below(4);
  const auto byte = static_cast<char>(random.below(256));
  input.insert(random.below(input.size() + 1), count, byte);
}

void repeat_range(std::string& input, Random& random) {
  const Range range = pick_range(input, random);
  const std::string part = input.substr(range.begin, range.size);
  for (size_t n = 1 + random.below(random.one_in(8) ? 200 : 2); n > 0; --n) input.insert(range.begin, part);
}

void move_range(std::string& input, Random& random) {
  const Range range = pick_range(input, random);
  const std::string part = input.substr(range.begin, range.size);
  input.erase(range.begin, range.size);
  input.insert(random.below(input.size() + 1), part);
}

void put_token(std::string& input, Random& random, const std::vector<std::string>& dictionary) {
  if (dictionary.empty()) return;
  const Range range = random.one_in(2) ? pick_range(input, random) : Range{random.below(input.size() + 1), 0};
  input.replace(range.begin, range.size, random.pick(dictionary));
}

// A whole run of digits, found from a random place on.
void change_decimal(std::string& input, Random& random) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto from = input.begin() + static_cast<std::ptrdiff_t>(random.below(input.size() + 1));
  const auto begin = std::find_if(from, input.end(), is_digit);
  const auto end = std::find_if_not(begin, input.end(), is_digit);
  if (begin != end) input.replace(begin, end, random.pick(boundary_numbers()));
}

// Little-endian, 1 to 8 bytes wide: 0, 1, all ones, the sign bit alone, all but it.
void change_binary(std::string& input, Random& random) {
  const size_t width = size_t{1} << random.below(4);
  if (input.size() < width) return;
  const uint64_t sign = uint64_t{1} << (8 * width - 1);
  const std::array<uint64_t, 5> values = {0, 1, sign | (sign - 1), sign, sign - 1};
  const uint64_t value = values[random.below(values.size())];
  const size_t begin = random.below(input.size() - width + 1);
  for (size_t i = 0; i < width; ++i) input[begin + i] = static_cast<char>(value >> (8 * i));
}

}  // namespace

uint64_t Random::next() {
  state_ += 0x9e3779b97f4a7c15U;
  uint64_t x = state_;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

const std::vector<std::string>& boundary_numbers() {
  static const std::vector<std::string> numbers = [] {
    std::istringstream words(
        "0 1 2 -1 -0 255 256 65535 65536 1000000 2147483647 2147483648 -2147483648 -2147483649 4294967295 "
        "4294967296 "
        "9007199254740993 4611686018427387904 9223372036854775807 9223372036854775808 -9223372036854775808 "
        "-9223372036854775809 18446744073709551615 18446744073709551616 0.5 1.0 1e0 1e-400 1e308 -1e308 "
        "1e999 "
        "00 01 0x10 NaN");
    return std::vector<std::string>(std::istream_iterator<std::string>(words), {});
  }();
  return numbers;
}

void mutate(std::string& input, Random& random, const std::vector<std::string>& dictionary) {
  switch (random.below(12)) {
    case 0:
    case 1:
      change_byte(input, random);
      break;
    case 2:
      insert_bytes(input, random);
      break;
    case 3: {
      const Range range = pick_range(input, random);
      input.erase(range.begin, range.size);
      break;
    }
    case 4:
      repeat_range(input, random);
      break;
    case 5:
      move_range(input, random);
      break;
    case 6:
      input.resize(random.below(input.size() + 1));
      break;
    case 7:
    case 8:
      put_token(input, random, dictionary);
      break;
    case 9:
    case 10:
      change_decimal(input, random);
      break;
    default:
      change_binary(input, random);
      break;
  }
  if (input.size() > kMaxInputBytes) input.resize(kMaxInputBytes);
}

}  // namespace hadal::fuzz
