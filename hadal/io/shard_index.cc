#include "hadal/io/shard_index.h"

#include <utility>

#include "hadal/core/error.h"
#include "hadal/io/json_reader.h"

namespace hadal::io {
namespace {

bool is_shard_name(std::string_view name) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  constexpr std::string_view kSuffix = ".safetensors";
  return name.size() > kSuffix.size() && name.ends_with(kSuffix) &&
         name.find_first_not_of(kLetters) == std::string_view::npos;
}

class IndexReader final : public JsonReader {
 public:
  using JsonReader::JsonReader;

  bool start_object(size_t size) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool string(string_t& value) override;

  std::map<std::string, std::string> take_weight_map();

 protected:
  std::string expectation() const override;
  bool scalar(const std::string& found) override {
    return state_ == State::kMetadata || JsonReader::scalar(found);
  }

 private:
  // Where in the schema the reader is: before a value, or inside an object.
  enum class State : uint8_t {
    kBeforeIndex,
    kIndex,
    kBeforeMetadata,
    kMetadata,
    kBeforeWeightMap,
    kWeightMap,
    kBeforeFile,
    kAfterIndex
  };
  static std::string_view expectation_in(State state);

  State state_ = State::kBeforeIndex;
  std::string name_;  // of the tensor at hand
  bool has_metadata_ = false, has_weight_map_ = false;
  std::map<std::string, std::string> weight_map_;
};

std::string_view IndexReader::expectation_in(State state) {
  switch (state) {
    case State::kBeforeIndex:
      return "an object with metadata and weight_map";
    case State::kIndex:
      return "metadata and weight_map, once each and nothing else";
    case State::kBeforeMetadata:
      return "metadata as an object";
    case State::kMetadata:
      return "in metadata only numbers, texts, true, false and null";
    case State::kBeforeWeightMap:
      return "weight_map as an object";
    case State::kWeightMap:
      return "each tensor once";
    case State::kBeforeFile:
      return "the name of a file in the same folder, NAME.safetensors";
    case State::kAfterIndex:
      return "nothing more";
  }
  return "";
}

std::string IndexReader::expectation() const {
  const bool in_map = state_ == State::kWeightMap || state_ == State::kBeforeFile;
  return fmt::format("{}  expected  {}", in_map ? "  tensor    " + printable(name_) + '\n' : "",
                     expectation_in(state_));
}

bool IndexReader::start_object(size_t size) {
  switch (state_) {
    case State::kBeforeIndex:
      state_ = State::kIndex;
      return true;
    case State::kBeforeMetadata:
      state_ = State::kMetadata;
      return true;
    case State::kBeforeWeightMap:
      state_ = State::kWeightMap;
      return true;
    default:
      return JsonReader::start_object(size);
  }
}

bool IndexReader::key(string_t& name) {
  if (state_ == State::kMetadata) return true;
  if (state_ == State::kWeightMap) {
    name_ = name;
    if (weight_map_.contains(name)) unexpected("it twice");
    state_ = State::kBeforeFile;
    return true;
  }
  const bool is_map = name == "weight_map";
  if (!is_map && name != "metadata") unexpected('"' + printable(name) + '"');
  if (std::exchange(is_map ? has_weight_map_ : has_metadata_, true)) unexpected(name + " twice");
  state_ = is_map ? State::kBeforeWeightMap : State::kBeforeMetadata;
  return true;
}

bool IndexReader::end_object() {
  state_ = state_ == State::kIndex ? State::kAfterIndex : State::kIndex;
  return true;
}

bool IndexReader::string(string_t& value) {
  if (state_ != State::kBeforeFile || !is_shard_name(value)) return JsonReader::string(value);
  weight_map_.emplace(std::move(name_), std::move(value));
  state_ = State::kWeightMap;
  return true;
}

std::map<std::string, std::string> IndexReader::take_weight_map() {
  if (!has_weight_map_) fail(ErrorKind::kCheckpoint, "{}\n  expected  weight_map\n  found     none", where());
  return std::move(weight_map_);
}

}  // namespace

std::map<std::string, std::string> parse_shard_index(std::string_view text, const std::string& where) {
  IndexReader reader(where);
  reader.read(text);
  return reader.take_weight_map();
}

}  // namespace hadal::io
