#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fuzz/fuzz_main.h"
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "hadal/io/safetensors.h"

namespace hadal::fuzz {
namespace {

// A safetensors file taken apart: fields are texts, so that each can be wrong on its own.
struct TensorText {
  std::string name, dtype;
  std::vector<std::string> shape, offsets;
  std::vector<std::string> more_fields;  // "key":value, behind the three of the format
};
struct FileText {
  std::vector<std::string> more_entries;  // "name":value, before the tensors
  std::vector<TensorText> tensors;
  std::string padding;
  uint64_t data_bytes = 0;
  uint64_t length_change = 0;  // added to the length that the header really has
};

std::string to_text(const TensorText& tensor) {
  std::vector<std::string> fields;
  if (!tensor.dtype.empty()) fields.push_back(fmt::format(R"("dtype":"{}")", tensor.dtype));
  fields.push_back(fmt::format(R"("shape":[{}])", fmt::join(tensor.shape, ",")));
  fields.push_back(fmt::format(R"("data_offsets":[{}])", fmt::join(tensor.offsets, ",")));
  fields.insert(fields.end(), tensor.more_fields.begin(), tensor.more_fields.end());
  return fmt::format(R"("{}":{{{}}})", tensor.name, fmt::join(fields, ","));
}

std::string to_bytes(const FileText& file) {
  std::vector<std::string> entries = file.more_entries;
  for (const TensorText& tensor : file.tensors) entries.push_back(to_text(tensor));
  const std::string header = fmt::format("{{{}}}{}", fmt::join(entries, ","), file.padding);
  const uint64_t length = header.size() + file.length_change;
  std::string bytes;
  for (size_t i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i));
  return bytes + header + std::string(file.data_bytes, 'x');
}

const std::vector<std::pair<std::string, uint64_t>>& dtypes() {
  static const std::vector<std::pair<std::string, uint64_t>> all = {
      {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F8_E4M3", 1}, {"I8", 1}, {"U8", 1}, {"I32", 4}, {"I64", 8}};
  return all;
}

FileText make_valid(Random& random) {
  FileText file;
  const size_t count = random.below(6);
  for (size_t i = 0; i < count; ++i) {
    const auto& [dtype, size] = random.pick(dtypes());
    TensorText tensor{
        .name = fmt::format("t{}", i), .dtype = dtype, .shape = {}, .offsets = {}, .more_fields = {}};
    uint64_t bytes = size;
    for (size_t axis = random.below(4); axis > 0; --axis) {
      const uint64_t extent = random.below(5);
      tensor.shape.push_back(std::to_string(extent));
      bytes *= extent;
    }
    tensor.offsets = {std::to_string(file.data_bytes), std::to_string(file.data_bytes + bytes)};
    file.data_bytes += bytes;
    file.tensors.push_back(std::move(tensor));
  }
  if (random.one_in(2)) std::ranges::reverse(file.tensors);  // any order is legal
  if (random.one_in(3)) file.more_entries.emplace_back(R"("__metadata__":{"format":"pt"})");
  file.padding.assign(random.below(9), ' ');
  return file;
}

// A number at a boundary, or next to the one that was there.
std::string wrong_number(const std::string& right, Random& random) {
  if (random.one_in(2)) return random.pick(boundary_numbers());
  uint64_t number = 0;
  std::from_chars(right.data(), right.data() + right.size(), number);  // stays 0 if it is wrong already
  return std::to_string(number + (random.one_in(2) ? 1U : ~uint64_t{0}));
}

void break_tensor(FileText& file, TensorText& tensor, Random& random) {
  switch (random.below(8)) {
    case 0:
      if (!tensor.shape.empty()) {
        std::string& extent = tensor.shape[random.below(tensor.shape.size())];
        extent = wrong_number(extent, random);
      }
      break;
    case 1:
      if (!tensor.offsets.empty()) {
        std::string& offset = tensor.offsets[random.below(tensor.offsets.size())];
        offset = wrong_number(offset, random);
      }
      break;
    case 2:
      tensor.dtype = random.one_in(2) ? random.pick(dtypes()).first : "F64";
      break;
    case 3:
      tensor.dtype.clear();
      break;
    case 4:
      tensor.shape.insert(tensor.shape.end(), 1 + random.below(9), "1");
      break;
    case 5:
      tensor.offsets.resize(random.below(4), "0");
      break;
    case 6:
      tensor.more_fields.push_back(random.pick(std::vector<std::string>{
          R"("dtype":"U8")", R"("shape":[])", R"("data_offsets":[0,0])", R"("extra":1)", R"("shape":{})"}));
      break;
    default:
      file.tensors.push_back(TensorText(tensor));
      break;  // the same name and the same bytes twice
  }
}

void break_file(FileText& file, Random& random) {
  switch (random.below(6)) {
    case 0:
      file.data_bytes += random.one_in(2) ? 1U : (file.data_bytes > 0 ? ~uint64_t{0} : 0U);
      break;
    case 1:
      file.length_change = random.one_in(2) ? 1U : ~uint64_t{0};
      break;
    case 2:
      file.length_change = uint64_t{1} << random.below(64);
      break;
    case 3:
      file.padding += random.one_in(2) ? "\n" : "}";
      break;
    case 4:
      file.more_entries.push_back(random.pick(std::vector<std::string>{
          R"("__metadata__":{"a":1})", R"("__metadata__":{"a":"1","a":"2"})", R"("__metadata__":[])",
          R"("x":null)", R"("t0":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})", R"("y":[[[[[[]]]]]])"}));
      break;
    default:
      if (!file.tensors.empty()) file.tensors.erase(file.tensors.begin());  // its bytes are a hole now
      break;
  }
}

std::string make_broken(Random& random) {
  FileText file = make_valid(random);
  for (size_t n = random.below(3); n > 0; --n) {
    if (file.tensors.empty() || random.one_in(3)) {
      break_file(file, random);
    } else {
      const size_t i = random.below(file.tensors.size());
      TensorText tensor = file.tensors[i];
      break_tensor(file, tensor, random);
      file.tensors[i] = std::move(tensor);
    }
  }
  std::string bytes = to_bytes(file);
  if (random.one_in(10)) bytes.resize(random.below(bytes.size() + 1));
  return bytes;
}

void require(bool holds, const char* promise) {
  if (!holds) throw std::logic_error(promise);
}

// What every reader of an accepted file relies on.
void run(std::string_view bytes) {
  const auto file = std::as_bytes(std::span(bytes));
  const auto tensors = io::parse_safetensors(file, "input");
  size_t data_bytes = 0;
  std::set<std::string> names;
  for (const io::TensorEntry& tensor : tensors) {
    require(names.insert(tensor.name).second, "names are unique");
    uint64_t size = static_cast<uint64_t>(io::size_of(tensor.dtype));
    for (const int64_t extent : tensor.shape) size *= static_cast<uint64_t>(extent);
    require(size == tensor.data.size(), "a tensor has the bytes of its shape");
    data_bytes += size;
  }
  const std::byte* next = file.data() + file.size() - data_bytes;
  for (const io::TensorEntry& tensor : tensors) {
    require(tensor.data.data() == next, "tensors follow one another up to the end of the file");
    next += tensor.data.size();
  }
}

}  // namespace
}  // namespace hadal::fuzz

int main(int argc, char** argv) {
  using namespace hadal::fuzz;  // NOLINT(google-build-using-namespace): this file has nothing else
  std::vector<std::string> seeds;
  Random random(1);
  std::generate_n(std::back_inserter(seeds), 20, [&] { return to_bytes(make_valid(random)); });
  return fuzz_main(argc, argv,
                   {.name = "fuzz_safetensors",
                    .seeds = seeds,
                    .dictionary = {"\"dtype\"",
                                   "\"shape\"",
                                   "\"data_offsets\"",
                                   "\"__metadata__\"",
                                   "\"F32\"",
                                   "\"BF16\"",
                                   "\"t0\"",
                                   "\"t1\":",
                                   "{}",
                                   "[]",
                                   "{",
                                   "}",
                                   "[",
                                   "]",
                                   ",",
                                   ":",
                                   "null",
                                   "\\u0000",
                                   std::string(1, '\0'),
                                   "\xef\xbb\xbf",
                                   "\"dtype\":\"U8\",\"shape\":[0],"},
                    .run = run,
                    .make = make_broken});
}
