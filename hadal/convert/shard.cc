#include "hadal/convert/shard.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <span>

#include <fmt/format.h>

#include "hadal/convert/codec.h"
#include "hadal/core/error.h"
#include "hadal/core/round.h"
#include "hadal/io/sha256.h"

namespace hadal::convert {
namespace {

constexpr int64_t kBlockRows = 128;                  // FP8 blocks are cut nowhere
constexpr int64_t kPieceWeights = int64_t{1} << 20;  // in one piece of work, but for whole blocks of rows
constexpr int64_t kBatchBytes = int64_t{256} << 20;  // of results that wait to be written
constexpr int64_t kRowsTogether = 32;                // that are rounded with regard to their inputs
constexpr int64_t kHash = -1;                        // the piece of work that reads the source once more

// One tensor on its way.
struct Job {
  const Item* item = nullptr;
  std::shared_ptr<const Compensation> compensation;  // null: plain rounding
  std::vector<std::vector<std::byte>> out;           // as item->written
  std::vector<SquaredError> errors;  // of each piece: added in their order, whichever thread made them
  std::string sha256;

  // The result as the model will read it.
  Weight result() const {
    Weight w = item->source;
    w.format = item->target;
    w.data = out[0].data();
    w.scale = reinterpret_cast<const float*>(out[1].data());
    w.first_row = 0;
    w.block_rows = w.format == Format::kF8E4M3 ? kBlockRows : 1;
    w.block_cols = w.format == Format::kF8E4M3 ? kBlockRows : w.in_features;
    w.group = w.format == Format::kI4 ? item->group_size : 0;
    w.group_code = w.format == Format::kI4 ? reinterpret_cast<const uint8_t*>(out[2].data()) : nullptr;
    return w;
  }
};

struct Piece {
  Job* job = nullptr;
  int64_t number = kHash;
};

int64_t rows_per_piece(const Weight& w) {
  return std::max<int64_t>(1, kPieceWeights / w.in_features / kBlockRows) * kBlockRows;
}

std::span<std::byte> row_of(std::vector<std::byte>& bytes, int64_t row, int64_t rows) {
  const auto width = bytes.size() / static_cast<size_t>(rows);
  return std::span(bytes).subspan(static_cast<size_t>(row) * width, width);
}

void quantize_f8(Job& job, int64_t first, int64_t count, const std::vector<float>& values) {
  const int64_t cols = job.item->source.in_features, blocks = (cols + kBlockRows - 1) / kBlockRows;
  auto* scale = reinterpret_cast<float*>(job.out[1].data());
  for (int64_t row = 0; row < count; row += kBlockRows) {
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t col = b * kBlockRows;
      scale[(first + row) / kBlockRows * blocks + b] = quantize_block_f8(
          values.data() + row * cols + col, std::min(kBlockRows, count - row),
          std::min(kBlockRows, cols - col), cols, job.out[0].data() + (first + row) * cols + col);
    }
  }
}

void quantize_row(Job& job, int64_t row, std::span<const float> values) {
  const int64_t rows = job.item->source.out_features;
  float& scale = reinterpret_cast<float*>(job.out[1].data())[row];
  if (job.item->target == Format::kI8) {
    scale = quantize_row_i8(values, row_of(job.out[0], row, rows));
  } else {
    scale = quantize_row_i4(values, job.item->group_size, row_of(job.out[0], row, rows),
                            row_of(job.out[2], row, rows));
  }
}

// Other codes for rows whose factors are decided.
void compensate(Job& job, int64_t first, int64_t count, std::span<const float> values) {
  const Weight result = job.result();
  const auto cols = static_cast<size_t>(result.in_features);
  for (int64_t row = 0; row < count; row += kRowsTogether) {
    const int64_t rows = std::min(kRowsTogether, count - row);
    std::vector<Grid> grids;
    for (int64_t r = 0; r < rows; ++r) grids.push_back(grid_of(result, first + row + r));
    std::vector<float> codes(static_cast<size_t>(rows) * cols);
    job.compensation->round(values.subspan(static_cast<size_t>(row) * cols, codes.size()), grids, codes);
    for (int64_t r = 0; r < rows; ++r) {
      store_codes(result, first + row + r, std::span(codes).subspan(static_cast<size_t>(r) * cols, cols),
                  row_of(job.out[0], first + row + r, result.out_features));
    }
  }
}

SquaredError error_of(const Weight& result, int64_t first, int64_t count, const std::vector<float>& values) {
  SquaredError sum;
  const int64_t cols = result.in_features;
  std::vector<float> found(static_cast<size_t>(cols));
  for (int64_t r = 0; r < count; ++r) {
    expand_row(result, first + r, found.data());
    for (int64_t k = 0; k < cols; ++k) {
      const double value = values[static_cast<size_t>(r * cols + k)],
                   off = found[static_cast<size_t>(k)] - value;
      sum.error += off * off;
      sum.signal += value * value;
    }
  }
  return sum;
}

void run_piece(const Piece& piece) {
  Job& job = *piece.job;
  if (piece.number == kHash) {
    job.sha256 = io::sha256_hex(job.item->read[0]->data);
    return;
  }
  const Weight& source = job.item->source;
  const int64_t cols = source.in_features, first = piece.number * rows_per_piece(source);
  const int64_t count = std::min(rows_per_piece(source), source.out_features - first);
  std::vector<float> values(static_cast<size_t>(count * cols));
  for (int64_t r = 0; r < count; ++r) expand_row(source, first + r, values.data() + r * cols);
  if (job.item->target == Format::kF8E4M3) {
    quantize_f8(job, first, count, values);
  } else {
    for (int64_t r = 0; r < count; ++r) {
      quantize_row(job, first + r, {values.data() + r * cols, static_cast<size_t>(cols)});
    }
    if (job.compensation) compensate(job, first, count, values);
  }
  job.errors[static_cast<size_t>(piece.number)] = error_of(job.result(), first, count, values);
}

// Results that are made together by all threads and then written.
class Batch {
 public:
  void add(const Item& item, Calibration* calibration) {
    Job job;
    job.item = &item;
    if (calibration) job.compensation = calibration->for_item(item);
    if (!item.is_copy()) {
      for (const io::TensorEntry& tensor : item.written) {
        int64_t bytes = io::size_of(tensor.dtype);
        for (const int64_t extent : tensor.shape) bytes *= extent;
        job.out.emplace_back(static_cast<size_t>(bytes));
        bytes_ += bytes;
      }
      const int64_t rows = item.source.out_features, step = rows_per_piece(item.source);
      job.errors.resize(static_cast<size_t>(ceil_div(rows, step)));
    }
    jobs_.push_back(std::move(job));
  }

  bool is_full() const { return bytes_ >= kBatchBytes; }

  void run(ThreadPool& pool) {
    std::vector<Piece> pieces;
    for (Job& job : jobs_) {
      if (!job.item->is_copy()) pieces.push_back({&job, kHash});
    }
    for (Job& job : jobs_) {
      for (size_t i = 0; i < job.errors.size(); ++i) pieces.push_back({&job, static_cast<int64_t>(i)});
    }
    parallel_for(pool, static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) run_piece(pieces[static_cast<size_t>(i)]);
    });
  }

  const std::vector<Job>& jobs() const { return jobs_; }

 private:
  std::vector<Job> jobs_;
  int64_t bytes_ = 0;
};

// What the metadata says of a tensor, always equally long: the header is laid out before the numbers are known.
std::string provenance(double relative_error, const std::string& sha256) {
  return fmt::format("relative_error={:.4e} sha256={}", std::min(relative_error, 9.0), sha256);
}

std::map<std::string, std::string> blank_metadata(const Shard& shard) {
  std::map<std::string, std::string> metadata{{"format", "pt"}};
  for (const Item& item : shard.items) {
    if (!item.is_copy()) metadata[item.written[0].name] = provenance(0.0, std::string(64, '0'));
  }
  return metadata;
}

void write_results(const Job& job, io::SafetensorsWriter& file) {
  for (size_t i = 0; i < job.item->written.size(); ++i) {
    const io::TensorEntry& tensor = job.item->written[i];
    file.write(tensor.name, job.item->is_copy() ? tensor.data : std::span<const std::byte>(job.out[i]));
  }
}

}  // namespace

SquaredError& SquaredError::operator+=(const SquaredError& other) {
  error += other.error;
  signal += other.signal;
  return *this;
}

double SquaredError::relative() const {
  return signal > 0.0 ? std::sqrt(error / signal) : 0.0;
}

void write_shard(const Shard& shard, const std::string& path, Calibration* calibration, ThreadPool& pool,
                 const std::function<void(const io::TensorEntry&)>& check, const TensorDone& done) {
  std::map<std::string, std::string> metadata = blank_metadata(shard);
  io::SafetensorsWriter file(path, shard.tensors(), metadata);
  for (size_t next = 0; next < shard.items.size();) {
    Batch batch;
    for (; next < shard.items.size() && !batch.is_full(); ++next) {
      const Item& item = shard.items[next];
      for (const io::TensorEntry* tensor : item.read) check(*tensor);
      batch.add(item, calibration);
    }
    batch.run(pool);
    for (const Job& job : batch.jobs()) {
      write_results(job, file);
      SquaredError error;
      for (const SquaredError& part : job.errors) error += part;
      if (!job.item->is_copy())
        metadata[job.item->written[0].name] = provenance(error.relative(), job.sha256);
      done(*job.item, error);
    }
  }
  file.commit(metadata);
}

}  // namespace hadal::convert
