#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "hadal/engine/page_allocator.h"
#include "hadal/engine/request.h"

namespace hadal::engine {

/// A request on its way: what it has, and how much of it the cache holds.
struct Sequence {
  RequestId id = 0;
  Request request;
  std::vector<int32_t> answer;
  std::vector<int32_t> pages;
  int64_t num_computed = 0;  // tokens of prompt + answer whose latents are in the cache

  int64_t num_prompt() const { return static_cast<int64_t>(request.prompt.size()); }
  bool is_prefilling() const { return num_computed < num_prompt(); }
};

/// Who computes how many tokens in the next forward pass: sequences that decode (one token each), then those that prefill.
struct StepPlan {
  struct Part {
    Sequence* sequence = nullptr;
    int64_t num_tokens = 0;
  };
  std::vector<Part> decode, prefill;
  bool empty() const { return decode.empty() && prefill.empty(); }
};

struct SchedulerLimits {
  int64_t max_tokens_per_step = 2048;
  int64_t max_num_seqs = 16;
  int64_t max_model_len = 0;
};

/// Decides what the next forward pass computes. Pure: no clock, no model, no lock.
class Scheduler {
 public:
  Scheduler(SchedulerLimits limits, int64_t num_pages, int64_t page_size);

  /// Throws kRequest for an empty prompt, one that leaves no room in the context, or max_tokens below 1; kCapacity for a
  /// request that does not fit even the empty cache. max_tokens is cut to what the context leaves.
  void submit(RequestId id, Request request);

  /// Decode goes first: a late decode token is a stutter that someone is watching, a late prefill chunk only a slightly
  /// later first token. A sequence gets all the pages that it can come to need when it starts; so it never has to stop.
  StepPlan plan();

  /// Takes a sequence out and gives its pages back. False if there is none of this id (any more).
  bool remove(RequestId id);

  bool idle() const { return waiting_.empty() && running_.empty(); }

 private:
  void admit();

  SchedulerLimits limits_;
  PageAllocator pages_;
  std::list<std::unique_ptr<Sequence>> waiting_, running_;  // oldest first, no overtaking: nobody starves
};

}  // namespace hadal::engine
