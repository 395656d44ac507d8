#include "hadal/io/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "hadal/core/checked.h"
#include "hadal/core/error.h"
#include "hadal/io/json_reader.h"

namespace hadal::io {
namespace {

std::optional<DType> parse_dtype(std::string_view text) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kI8, DType::kU8,
                            DType::kI32, DType::kI64}) {
    if (to_string(dtype) == text) return dtype;
  }
  return std::nullopt;
}

std::optional<int64_t> bytes_of(const HeaderEntry& tensor) {
  std::optional<int64_t> bytes = size_of(tensor.dtype);
  for (const int64_t extent : tensor.shape) {
    if (bytes) bytes = checked_mul(*bytes, extent);
  }
  return bytes;
}

// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {"key": "text", ...}}
class HeaderReader final : public JsonReader {
 public:
  using JsonReader::JsonReader;

  bool start_object(size_t size) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool start_array(size_t size) override;
  bool end_array() override;
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& value) override;

  std::vector<HeaderEntry> take_tensors();

 private:
  // Where in the schema the reader is: before a value, or inside an object or array.
  enum class State : uint8_t {
    kBeforeHeader,
    kHeader,
    kBeforeTensor,
    kTensor,
    kBeforeDtype,
    kBeforeShape,
    kShape,
    kBeforeOffsets,
    kOffsets,
    kBeforeMetadata,
    kMetadata,
    kBeforeText,
    kAfterHeader
  };

  struct Field {
    std::string_view name;
    State before_value;
  };
  static constexpr std::array<Field, 3> kFields = {Field{"dtype", State::kBeforeDtype},
                                                   Field{"shape", State::kBeforeShape},
                                                   Field{"data_offsets", State::kBeforeOffsets}};

  std::string expectation() const override;
  static std::string_view expectation_in(State state);
  void begin_entry(std::string& name);
  void begin_field(const std::string& name);
  void finish_tensor();

  State state_ = State::kBeforeHeader;
  std::string name_;  // of the tensor or metadata entry at hand
  std::vector<HeaderEntry> tensors_;
  std::array<bool, 3> has_field_{};  // of the tensor at hand, as in kFields
  std::vector<int64_t> offsets_;     // its data_offsets
  bool has_metadata_ = false;
  std::set<std::string> metadata_keys_;
};

std::string_view HeaderReader::expectation_in(State state) {
  switch (state) {
    case State::kBeforeHeader:
      return "an object with one entry for each tensor";
    case State::kHeader:
      return "a tensor's name";
    case State::kBeforeTensor:
      return "an object with dtype, shape and data_offsets";
    case State::kTensor:
      return "dtype, shape and data_offsets, once each and nothing else";
    case State::kBeforeDtype:
      return "dtype as a text";
    case State::kBeforeShape:
      return "shape as an array of numbers";
    case State::kShape:
      return "a shape of at most 8 whole numbers from 0 to 2^63 - 1";
    case State::kBeforeOffsets:
      return "data_offsets as an array of two numbers";
    case State::kOffsets:
      return "data_offsets of two whole numbers from 0 to 2^63 - 1";
    case State::kBeforeMetadata:
      return "an object of texts";
    case State::kMetadata:
      return "each key once";
    case State::kBeforeText:
      return "a text";
    case State::kAfterHeader:
      return "nothing more";
  }
  return "";
}

std::string HeaderReader::expectation() const {
  static_assert(kMaxRank == 8, "expectation_in() says so");
  const bool inside =
      state_ != State::kBeforeHeader && state_ != State::kHeader && state_ != State::kAfterHeader;
  return fmt::format("{}  expected  {}", inside ? "  tensor    " + printable(name_) + '\n' : "",
                     expectation_in(state_));
}

bool HeaderReader::start_object(size_t size) {
  switch (state_) {
    case State::kBeforeHeader:
      state_ = State::kHeader;
      return true;
    case State::kBeforeTensor:
      state_ = State::kTensor;
      return true;
    case State::kBeforeMetadata:
      state_ = State::kMetadata;
      return true;
    default:
      return JsonReader::start_object(size);
  }
}

bool HeaderReader::key(string_t& name) {
  if (state_ == State::kHeader) {
    begin_entry(name);
  } else if (state_ == State::kTensor) {
    begin_field(name);
  } else {
    if (!metadata_keys_.insert(name).second) unexpected('"' + printable(name) + "\" twice");
    state_ = State::kBeforeText;
  }
  return true;
}

void HeaderReader::begin_entry(std::string& name) {
  name_ = std::move(name);
  if (name_ == "__metadata__") {
    if (std::exchange(has_metadata_, true)) unexpected("\"__metadata__\" twice");
    state_ = State::kBeforeMetadata;
    return;
  }
  if (static_cast<int64_t>(tensors_.size()) >= kMaxTensors) {
    fail(ErrorKind::kCheckpoint, "{}\n  expected  at most {} tensors\n  found     more", where(),
         kMaxTensors);
  }
  tensors_.push_back({.name = name_});
  has_field_ = {};
  offsets_.clear();
  state_ = State::kBeforeTensor;
}

void HeaderReader::begin_field(const std::string& name) {
  for (size_t i = 0; i < kFields.size(); ++i) {
    if (kFields[i].name != name) continue;
    if (std::exchange(has_field_[i], true)) unexpected(name + " twice");
    state_ = kFields[i].before_value;
    return;
  }
  unexpected('"' + printable(name) + '"');
}

bool HeaderReader::end_object() {
  if (state_ == State::kTensor) finish_tensor();
  state_ = state_ == State::kHeader ? State::kAfterHeader : State::kHeader;
  return true;
}

bool HeaderReader::start_array(size_t size) {
  switch (state_) {
    case State::kBeforeShape:
      state_ = State::kShape;
      return true;
    case State::kBeforeOffsets:
      state_ = State::kOffsets;
      return true;
    default:
      return JsonReader::start_array(size);
  }
}

bool HeaderReader::end_array() {
  if (state_ == State::kOffsets && offsets_.size() != 2)
    unexpected(std::to_string(offsets_.size()) + " of them");
  state_ = State::kTensor;
  return true;
}

bool HeaderReader::number_unsigned(number_unsigned_t value) {
  constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  const bool in_shape = state_ == State::kShape;
  if ((!in_shape && state_ != State::kOffsets) || value > kLargest) return JsonReader::number_unsigned(value);
  std::vector<int64_t>& values = in_shape ? tensors_.back().shape : offsets_;
  if (static_cast<int64_t>(values.size()) >= (in_shape ? kMaxRank : 2)) unexpected("more numbers");
  values.push_back(static_cast<int64_t>(value));
  return true;
}

bool HeaderReader::string(string_t& value) {
  if (state_ == State::kBeforeText) {
    state_ = State::kMetadata;
    return true;
  }
  if (state_ != State::kBeforeDtype) return JsonReader::string(value);
  const std::optional<DType> dtype = parse_dtype(value);
  if (!dtype) {
    fail(ErrorKind::kCheckpoint,
         "{}\n  tensor    {}\n  expected  dtype F32, F16, BF16, F8_E4M3, I8, U8, I32 or I64\n  found     {}",
         where(), printable(name_), printable(value));
  }
  tensors_.back().dtype = *dtype;
  state_ = State::kTensor;
  return true;
}

void HeaderReader::finish_tensor() {
  for (size_t i = 0; i < kFields.size(); ++i) {
    if (!has_field_[i]) unexpected("no " + std::string(kFields[i].name));
  }
  HeaderEntry& tensor = tensors_.back();
  tensor.begin = offsets_[0];
  tensor.end = offsets_[1];
  const std::optional<int64_t> bytes = bytes_of(tensor);
  if (bytes && *bytes == tensor.end - tensor.begin) return;
  fail(ErrorKind::kCheckpoint,
       "{}\n  tensor    {}\n  expected  {} bytes = {} x {}\n  found     data_offsets {}", where(),
       printable(tensor.name), bytes ? std::to_string(*bytes) : "more than 2^63",
       hadal::to_string(tensor.shape), to_string(tensor.dtype), hadal::to_string(offsets_));
}

std::vector<HeaderEntry> HeaderReader::take_tensors() {
  std::vector<std::string_view> names;
  names.reserve(tensors_.size());
  for (const HeaderEntry& tensor : tensors_) names.push_back(tensor.name);
  std::ranges::sort(names);  // not a hash set: the file chooses the names, and could choose colliding ones
  if (const auto twice = std::ranges::adjacent_find(names); twice != names.end()) {
    fail(ErrorKind::kCheckpoint, "{}\n  tensor    {}\n  expected  one entry\n  found     two", where(),
         printable(*twice));
  }
  return std::move(tensors_);
}

}  // namespace

std::vector<HeaderEntry> read_safetensors_header(std::string_view header, const std::string& where) {
  HeaderReader reader(where);
  reader.read(header);
  return reader.take_tensors();
}

}  // namespace hadal::io
