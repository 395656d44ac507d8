#pragma once

#include <cstdint>
#include <span>

namespace hadal::ops {

/// All tokens of one step, laid end to end, sequence after sequence. Views; whoever made the batch owns the numbers.
struct Batch {
  std::span<const int32_t> tokens;     // [T]
  std::span<const int32_t> positions;  // [T], ascending by one within a sequence
  std::span<const int32_t> slots;      // [T]: page * page_size + offset, where the token's latent goes
  std::span<const int32_t> seq_start;  // [S + 1]
  std::span<const std::span<const int32_t>> pages;  // [S]: page ids of each sequence, from position 0
  std::span<const int32_t> logit_rows;              // rows whose logits someone will read
  int64_t page_size = 64;
  int64_t num_decode_seqs =
      0;  // the first so many sequences use the absorbed form of attention, the rest the expanded

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_seqs() const { return static_cast<int64_t>(seq_start.size()) - 1; }
  int64_t num_decode_tokens() const { return seq_start[static_cast<size_t>(num_decode_seqs)]; }
};

}  // namespace hadal::ops
