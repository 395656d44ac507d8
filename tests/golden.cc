#include "tests/golden.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

#include "hadal/core/error.h"

namespace hadal::tests {
namespace {

constexpr int64_t kMaxMetaBytes = int64_t{1} << 20;

template <class T>
std::span<const T> values(const io::TensorEntry* tensor, const std::string& name, io::DType dtype) {
  HADAL_CHECK(tensor != nullptr && tensor->dtype == dtype, "golden tensor {}", name);
  return {reinterpret_cast<const T*>(tensor->data.data()), tensor->data.size() / sizeof(T)};
}

}  // namespace

Golden::Golden(const std::string& folder)
    : folder_(folder),
      meta_(read_json_file(folder + "/golden.json", kMaxMetaBytes, ErrorKind::kIo)),
      file_(folder + "/golden.safetensors") {}

std::vector<std::string> Golden::prompts() const {
  std::vector<std::string> names;
  for (const json& prompt : meta_["prompts"]) names.push_back(fmt::format("p{}", prompt["index"].get<int>()));
  return names;
}

std::span<const float> Golden::floats(const std::string& name) const {
  return values<float>(find(name), name, io::DType::kF32);
}

std::span<const int32_t> Golden::ints(const std::string& name) const {
  return values<int32_t>(find(name), name, io::DType::kI32);
}

std::vector<std::string> golden_folders() {
  const char* elsewhere = std::getenv("HADAL_GOLDENS");
  std::vector<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator(elsewhere ? elsewhere : "tests/golden")) {
    if (std::filesystem::exists(entry.path() / "golden.safetensors"))
      folders.push_back(entry.path().string());
  }
  std::ranges::sort(folders);
  return folders;
}

double max_abs_diff(std::span<const float> a, std::span<const float> b) {
  HADAL_CHECK(a.size() == b.size(), "{} and {} values", a.size(), b.size());
  double largest = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double diff = std::fabs(double{a[i]} - b[i]);
    if (!(diff <= largest)) largest = diff;  // NaN counts
  }
  return largest;
}

double relative_l2(std::span<const float> a, std::span<const float> b) {
  HADAL_CHECK(a.size() == b.size(), "{} and {} values", a.size(), b.size());
  double difference = 0.0, norm = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    norm += double{b[i]} * b[i];
  }
  return std::sqrt(difference / norm);
}

int64_t argmax_mismatches(std::span<const float> a, std::span<const float> b, int64_t width) {
  int64_t mismatches = 0;
  const auto row = static_cast<size_t>(width);
  for (size_t at = 0; at < a.size(); at += row) {
    const auto best_a = std::ranges::max_element(a.subspan(at, row)) - a.subspan(at, row).begin();
    const auto best_b = std::ranges::max_element(b.subspan(at, row)) - b.subspan(at, row).begin();
    mismatches += best_a != best_b ? 1 : 0;
  }
  return mismatches;
}

}  // namespace hadal::tests
