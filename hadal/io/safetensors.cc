#include "hadal/io/safetensors.h"

#include <algorithm>
#include <utility>

#include "hadal/core/error.h"
#include "hadal/core/node_memory.h"
#include "hadal/io/json_reader.h"
#include "hadal/io/safetensors_header.h"

namespace hadal::io {
namespace {

uint64_t read_u64_le(std::span<const std::byte> bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) value |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  return value;
}

// The header's JSON, once its length is known to be sane and the file to have that much.
std::string_view header_of(std::span<const std::byte> file, const std::string& where) {
  if (file.size() < kLengthBytes) {
    fail(ErrorKind::kCheckpoint,
         "{}\n  expected  a safetensors file, which begins with 8 bytes of header length\n  found     {} "
         "bytes",
         where, file.size());
  }
  const uint64_t length = read_u64_le(file);
  if (length > static_cast<uint64_t>(kMaxHeaderBytes)) {
    fail(ErrorKind::kCheckpoint,
         "{}\n  expected  a header of at most {} bytes\n  found     {} bytes\n"
         "  hint      this is no safetensors file, or it is damaged",
         where, kMaxHeaderBytes, length);
  }
  if (length > file.size() - kLengthBytes) {
    fail(ErrorKind::kCheckpoint,
         "{}\n  expected  a header of {} bytes\n  found     {} bytes up to the end of the file\n"
         "  hint      the file is cut off: is its download complete?",
         where, length, file.size() - kLengthBytes);
  }
  const std::span<const std::byte> bytes = file.subspan(kLengthBytes, length);
  std::string_view header(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  while (header.ends_with(' ')) header.remove_suffix(1);  // padding
  if (!header.starts_with('{') || !header.ends_with('}')) {
    fail(ErrorKind::kCheckpoint,
         "{}\n  expected  a header that begins with {{ and ends with }} and spaces only\n  found     other "
         "bytes\n"
         "  hint      this is no safetensors file, or it is damaged",
         where);
  }
  return header;
}

// Each tensor begins where the one before it ends, the first at 0, and the last ends with the file. So no byte belongs
// to two tensors or to none, and nothing can hide in between.
void check_layout(std::span<const HeaderEntry> tensors, int64_t data_bytes, const std::string& where) {
  int64_t end = 0;
  for (const HeaderEntry& tensor : tensors) {
    if (tensor.begin != end) {
      fail(ErrorKind::kCheckpoint,
           "{}\n  tensor    {}\n  expected  data that begins at byte {}\n  found     byte {}: {}", where,
           printable(tensor.name), end, tensor.begin,
           tensor.begin < end ? "it overlaps another tensor" : "bytes before it belong to no tensor");
    }
    end = tensor.end;
  }
  if (end == data_bytes) return;
  fail(ErrorKind::kCheckpoint,
       "{}\n  expected  {} bytes of tensors\n  found     {} bytes after the header\n  hint      {}", where,
       end, data_bytes,
       data_bytes < end ? "the file is cut off: is its download complete?" : "the file is damaged");
}

// A part of the file.
struct Range {
  int64_t first = 0, size = 0;  // bytes
};

// Calls body(begin, end) for pieces of each range, offsets in the file. What is written first there comes from the memory of
// the node whose threads begin with the piece in loops over the range.
template <class Body>
void for_pieces(ThreadPool& pool, const std::vector<Range>& ranges, const Body& body) {
  constexpr int64_t kPiece = int64_t{256} << 10;  // large enough that reading costs little beside the copying
  for (const Range& range : ranges) {
    parallel_for(pool, range.size, kPiece, [&](int64_t begin, int64_t end) {
      const NodeMemoryScope memory(pool.num_groups() > 1 ? pool.node_of(begin, range.size, kPiece) : -1);
      body(range.first + begin, range.first + end);
    });
  }
}

// Writes to the huge pages whose middle lies in [begin, end) of the memory, so that each comes from where most of it is read: a page
// on the border of two parts would go to the later part, whose threads come to it first.
void place_huge_pages(std::byte* memory, int64_t begin, int64_t end) {
  constexpr int64_t kHugePage = int64_t{2} << 20, kHalf = kHugePage / 2;
  const auto address = reinterpret_cast<uintptr_t>(memory);
  // From the first middle of the memory on.
  const auto to_middle = static_cast<int64_t>((kHugePage + kHalf - address % kHugePage) % kHugePage);
  const int64_t skipped = std::max<int64_t>(0, (begin - to_middle + kHugePage - 1) / kHugePage);
  for (int64_t at = to_middle + skipped * kHugePage; at < end; at += kHugePage) memory[at] = std::byte{0};
}

}  // namespace

std::string_view to_string(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kF8E4M3:
      return "F8_E4M3";
    case DType::kI8:
      return "I8";
    case DType::kU8:
      return "U8";
    case DType::kI32:
      return "I32";
    case DType::kI64:
      return "I64";
  }
  return "";
}

int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kF8E4M3:
    case DType::kI8:
    case DType::kU8:
      return 1;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kI64:
      return 8;
  }
  return 0;
}

std::vector<TensorEntry> parse_safetensors(std::span<const std::byte> file, const std::string& where) {
  const std::string_view header = header_of(file, where);
  const std::span<const std::byte> data = file.subspan(kLengthBytes + read_u64_le(file));

  std::vector<HeaderEntry> entries = read_safetensors_header(header, where);
  std::ranges::stable_sort(entries, {}, [](const HeaderEntry& e) { return std::pair(e.begin, e.end); });
  check_layout(entries, static_cast<int64_t>(data.size()), where);

  std::vector<TensorEntry> tensors;
  tensors.reserve(entries.size());
  for (HeaderEntry& entry : entries) {
    const auto begin = static_cast<size_t>(entry.begin), end = static_cast<size_t>(entry.end);
    tensors.push_back(
        {std::move(entry.name), entry.dtype, std::move(entry.shape), data.subspan(begin, end - begin)});
  }
  return tensors;
}

SafetensorsFile::SafetensorsFile(const std::string& path)
    : path_(path), file_(path), tensors_(parse_safetensors(file_.bytes(), path)) {
  for (size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
}

std::span<const std::byte> SafetensorsFile::bytes() const {
  return copy_.size() > 0 ? std::span<const std::byte>{copy_.data(), static_cast<size_t>(copy_.size())}
                          : file_.bytes();
}

void SafetensorsFile::copy_into_memory(ThreadPool& pool) {
  if (copy_.size() > 0) return;
  const std::byte* const mapped = file_.bytes().data();
  std::vector<Range> ranges = {{0, static_cast<int64_t>(kLengthBytes + read_u64_le(file_.bytes()))}};
  for (const TensorEntry& tensor : tensors_)
    ranges.push_back({tensor.data.data() - mapped, static_cast<int64_t>(tensor.data.size())});
  // Offsets stay as they are in the file, so that alignment does too.
  Buffer copy(static_cast<int64_t>(file_.bytes().size()));
  if (pool.num_groups() > 1) {
    for_pieces(pool, ranges, [&](int64_t begin, int64_t end) { place_huge_pages(copy.data(), begin, end); });
  }
  for_pieces(pool, ranges, [&](int64_t begin, int64_t end) {
    file_.read(begin, {copy.data() + begin, static_cast<size_t>(end - begin)});
  });
  for (TensorEntry& tensor : tensors_)
    tensor.data = {copy.data() + (tensor.data.data() - mapped), tensor.data.size()};
  copy_ = std::move(copy);
  file_ = MmapFile();
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace hadal::io
