#include "hadal/engine/make_batch.h"

#include "hadal/core/error.h"

namespace hadal::engine {

void BatchBuilder::clear() {
  num_decode_seqs_ = 0;
  for (auto* list : {&tokens_, &positions_, &slots_, &logit_rows_}) list->clear();
  seq_start_.assign(1, 0);
  pages_.clear();
}

void BatchBuilder::add(const BatchPart& part) {
  HADAL_CHECK(!part.decode || num_decode_seqs_ == static_cast<int64_t>(pages_.size()),
              "decode parts come before prefill parts");
  if (part.decode) ++num_decode_seqs_;
  for (size_t i = 0; i < part.tokens.size(); ++i) {
    const int64_t position = int64_t{part.first_position} + static_cast<int64_t>(i);
    const auto page = static_cast<size_t>(position / page_size_);
    HADAL_CHECK(page < part.pages.size(), "position {} needs page {} of {}", position, page,
                part.pages.size());
    const bool last = i + 1 == part.tokens.size();
    if (part.all_logits || (last && part.wants_logits))
      logit_rows_.push_back(static_cast<int32_t>(tokens_.size()));
    tokens_.push_back(part.tokens[i]);
    positions_.push_back(static_cast<int32_t>(position));
    slots_.push_back(static_cast<int32_t>(part.pages[page] * page_size_ + position % page_size_));
  }
  seq_start_.push_back(static_cast<int32_t>(tokens_.size()));
  pages_.push_back(part.pages);
}

ops::Batch BatchBuilder::batch() const {
  return {.tokens = tokens_,
          .positions = positions_,
          .slots = slots_,
          .seq_start = seq_start_,
          .pages = pages_,
          .logit_rows = logit_rows_,
          .page_size = page_size_,
          .num_decode_seqs = num_decode_seqs_};
}

}  // namespace hadal::engine
