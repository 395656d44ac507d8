#include <array>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/core/checked.h"
#include "hadal/core/error.h"
#include "hadal/core/json.h"
#include "hadal/io/atomic_file.h"
#include "hadal/io/safetensors.h"

namespace hadal::io {
namespace {

std::string json_text(std::string_view text) {
  return json(text).dump();
}

int64_t bytes_of(const TensorEntry& tensor) {
  std::optional<int64_t> bytes = size_of(tensor.dtype);
  for (const int64_t extent : tensor.shape) bytes = bytes ? checked_mul(*bytes, extent) : bytes;
  HADAL_CHECK(bytes.has_value(), "{}: {} x {} does not fit in 63 bits", tensor.name,
              hadal::to_string(tensor.shape), to_string(tensor.dtype));
  return *bytes;
}

void check_tensor(const TensorEntry& tensor) {
  HADAL_CHECK(bytes_of(tensor) == static_cast<int64_t>(tensor.data.size()), "{}: {} bytes for {} x {}",
              tensor.name, tensor.data.size(), hadal::to_string(tensor.shape), to_string(tensor.dtype));
}

// Written by hand: an ordered JSON object looks its keys up one by one, and DeepSeek-V3 has 91,991 tensors.
std::string make_header(std::span<const TensorEntry> tensors,
                        const std::map<std::string, std::string>& metadata, size_t padded_to) {
  std::vector<std::string> entries;
  if (!metadata.empty()) {
    std::vector<std::string> texts;
    texts.reserve(metadata.size());
    for (const auto& [key, value] : metadata) texts.push_back(json_text(key) + ':' + json_text(value));
    entries.push_back(fmt::format("\"__metadata__\":{{{}}}", fmt::join(texts, ",")));
  }
  std::set<std::string_view> names;
  int64_t offset = 0;
  for (const TensorEntry& tensor : tensors) {
    HADAL_CHECK(names.insert(tensor.name).second && tensor.name != "__metadata__", "tensor {} twice",
                tensor.name);
    const int64_t end = offset + bytes_of(tensor);
    entries.push_back(fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                                  json_text(tensor.name), to_string(tensor.dtype),
                                  fmt::join(tensor.shape, ","), offset, end));
    offset = end;
  }
  std::string header = fmt::format("{{{}}}", fmt::join(entries, ","));
  const size_t bytes = kLengthBytes + header.size();
  header.resize((bytes + padded_to - 1) / padded_to * padded_to - kLengthBytes, ' ');
  return header;
}

std::array<std::byte, kLengthBytes> length_of(const std::string& header) {
  std::array<std::byte, kLengthBytes> length{};
  for (size_t i = 0; i < length.size(); ++i) length[i] = static_cast<std::byte>(header.size() >> (8 * i));
  return length;
}

}  // namespace

void write_safetensors(const std::string& path, std::span<const TensorEntry> tensors,
                       const std::map<std::string, std::string>& metadata) {
  for (const TensorEntry& tensor : tensors) check_tensor(tensor);
  const std::string header = make_header(tensors, metadata, 8);
  AtomicFile file(path);
  file.append(length_of(header));
  file.append(std::as_bytes(std::span(header)));
  for (const TensorEntry& tensor : tensors) file.append(tensor.data);
  file.commit();
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<TensorEntry> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : tensors_(std::move(tensors)), file_(path) {
  header_bytes_ = make_header(tensors_, metadata, kDataAlignment).size();
  auto offset = static_cast<int64_t>(kLengthBytes + header_bytes_);
  for (const TensorEntry& tensor : tensors_) {
    places_[tensor.name] = {offset, bytes_of(tensor)};
    offset += bytes_of(tensor);
  }
}

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  const auto place = places_.find(name);
  HADAL_CHECK(place != places_.end() && place->second.bytes == static_cast<int64_t>(bytes.size()),
              "tensor {}: {} bytes", name, bytes.size());
  file_.write_at(place->second.offset, bytes);
  places_.erase(place);
}

void SafetensorsWriter::commit(const std::map<std::string, std::string>& metadata) {
  const std::string header = make_header(tensors_, metadata, kDataAlignment);
  HADAL_CHECK(header.size() == header_bytes_, "header of {} bytes instead of {}", header.size(),
              header_bytes_);
  HADAL_CHECK(places_.empty(), "tensor {} was not written", places_.begin()->first);
  file_.append(length_of(header));
  file_.append(std::as_bytes(std::span(header)));
  file_.commit();
}

}  // namespace hadal::io
