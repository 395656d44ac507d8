#include "hadal/model/model.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string_view>

#include "hadal/core/memory.h"
#include "hadal/model/bind.h"
#include "hadal/model/yarn.h"

namespace hadal::model {
namespace {

using io::DType;
using io::TensorEntry;

// True if some element is NaN or infinite: all exponent bits set. F8_E4M3 has no infinity, only the code 0x7F is NaN.
template <class Code>
bool has_non_finite(const std::byte* data, int64_t count, Code exponent_mask) {
  uint8_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    Code code;
    std::memcpy(&code, data + i * static_cast<int64_t>(sizeof(Code)), sizeof(Code));
    found |= static_cast<uint8_t>((code & exponent_mask) == exponent_mask);
  }
  return found != 0;
}

bool has_non_finite(DType dtype, const std::byte* data, int64_t count) {
  switch (dtype) {
    case DType::kF32:
      return has_non_finite<uint32_t>(data, count, 0x7f800000U);
    case DType::kBF16:
      return has_non_finite<uint16_t>(data, count, uint16_t{0x7f80U});
    case DType::kF16:
      return has_non_finite<uint16_t>(data, count, uint16_t{0x7c00U});
    case DType::kF8E4M3:
      return has_non_finite<uint8_t>(data, count, uint8_t{0x7fU});
    default:
      return false;  // integers are all numbers
  }
}

// What the integer kernels rely on beside: I8 codes leave -128 out, and an INT4 code times its group's factor is an 8-bit
// integer again.
bool has_bad_code(DType dtype, const std::byte* data, int64_t count) {
  uint8_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto code = static_cast<uint8_t>(data[i]);
    const int factor = code & 15, zero = code >> 4;
    found |=
        static_cast<uint8_t>(dtype == DType::kI8 ? code == 0x80 : factor * std::max(zero, 15 - zero) > 127);
  }
  return found != 0;
}

bool is_group(const TensorEntry& tensor) {
  return tensor.dtype == DType::kU8 && tensor.name.ends_with(".weight_group");
}

// The whole tensor is looked at in pieces; an INT4 weight is not looked at, for all of its codes are good.
bool has_bad_number(const TensorEntry& tensor, int64_t from, int64_t to) {
  const std::byte* data = tensor.data.data() + from * io::size_of(tensor.dtype);
  if (tensor.dtype == DType::kI8 || is_group(tensor)) return has_bad_code(tensor.dtype, data, to - from);
  return has_non_finite(tensor.dtype, data, to - from);
}

// What a message says of a bad number.
struct Rule {
  const char *expected, *found;
};

Rule rule_for(const TensorEntry& tensor) {
  if (tensor.dtype == DType::kI8) return {"codes from -127 to 127", "-128"};
  if (is_group(tensor)) return {"factors s and zeros z with s * max(z, 15 - z) <= 127", "another"};
  return {"finite numbers", "NaN or infinity"};
}

std::string index_text(int64_t flat, const std::vector<int64_t>& shape) {
  std::vector<int64_t> index(shape.size());
  for (size_t axis = shape.size(); axis-- > 0;) {
    index[axis] = flat % shape[axis];
    flat /= shape[axis];
  }
  return to_string(index);
}

}  // namespace

void check_numbers(const TensorEntry& tensor, const std::string& file, ThreadPool& pool) {
  constexpr int64_t kPiece = int64_t{1} << 20;  // elements; a page fault or two for each thread at a time
  const int64_t count = static_cast<int64_t>(tensor.data.size()) / io::size_of(tensor.dtype);
  std::atomic<int64_t> bad{count};  // the lowest piece with a bad number
  parallel_for(pool, count, kPiece, [&](int64_t begin, int64_t end) {
    for (int64_t from = begin; from < end; from += kPiece) {
      if (!has_bad_number(tensor, from, std::min(from + kPiece, end))) continue;
      int64_t lowest = bad;
      while (from < lowest && !bad.compare_exchange_weak(lowest, from)) {
      }
    }
  });
  for (int64_t i = bad; i < count; ++i) {
    if (!has_bad_number(tensor, i, i + 1)) continue;
    const auto [expected, found] = rule_for(tensor);
    fail(ErrorKind::kCheckpoint,
         "checkpoint {}\n  tensor    {}\n  expected  {}\n  found     {} at {}\n"
         "  hint      the file is damaged, or what made it went wrong",
         file, tensor.name, expected, found, index_text(i, tensor.shape));
  }
}

Model bind_model(const std::string& folder) {
  Model model;
  model.config = load_config(folder);
  model.checkpoint = io::Checkpoint::open(folder);
  bind_weights(model);
  model.inv_freq = inverse_frequencies(model.config);
  model.rotary_magnitude = rotary_magnitude(model.config);
  return model;
}

void read_weights(Model& model, ThreadPool& pool, const LoadOptions& options, const LoadProgress& progress) {
  const int64_t total = model.checkpoint.total_bytes();
  if (options.copies || options.locks) {
    const std::array needs = {MemoryNeed{"weights", total}};
    check_memory(needs, available_memory_bytes());
  }
  int64_t done = 0;
  for (const auto& file : model.checkpoint.files()) {
    if (options.copies) file->copy_into_memory(pool);
    if (options.locks) lock_memory(file->bytes(), file->path());
    for (const TensorEntry& tensor : file->tensors()) {
      check_numbers(tensor, file->path(), pool);
      done += static_cast<int64_t>(tensor.data.size());
      if (progress) progress(done, total);
    }
  }
  if (!options.copies) return;
  model.weights = {};  // views of the mapping, which is gone
  model.owned_scales.clear();
  model.owned_bytes.clear();
  bind_weights(model);
}

Model load_model(const std::string& folder, ThreadPool& pool, const LoadProgress& progress) {
  Model model = bind_model(folder);
  read_weights(model, pool, {}, progress);
  return model;
}

}  // namespace hadal::model
