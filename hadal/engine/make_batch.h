#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hadal/ops/batch.h"

namespace hadal::engine {

/// What one sequence contributes to a step: tokens at consecutive positions from `first_position`.
struct BatchPart {
  std::span<const int32_t> tokens;
  int32_t first_position = 0;
  std::span<const int32_t> pages;  // the sequence's page table, long enough for all positions up to here
  bool decode = false;             // absorbed form; such parts come first
  bool all_logits = false;         // logits of every token, else of the last one only if wants_logits
  bool wants_logits = true;
};

/// Owns the numbers of an ops::Batch. Reused from step to step: nothing is allocated once it has been large enough.
class BatchBuilder {
 public:
  explicit BatchBuilder(int64_t page_size) : page_size_(page_size) {}
  void clear();
  void add(const BatchPart& part);
  ops::Batch batch() const;

 private:
  int64_t page_size_;
  int64_t num_decode_seqs_ = 0;
  std::vector<int32_t> tokens_, positions_, slots_, seq_start_{0}, logit_rows_;
  std::vector<std::span<const int32_t>> pages_;
};

}  // namespace hadal::engine
