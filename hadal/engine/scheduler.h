#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hadal/engine/page_allocator.h"
#include "hadal/engine/request.h"

namespace hadal::engine {

/// A request on its way: what it has, and how much of it the cache holds.
struct Sequence {
  RequestId id = 0;
  Request request;
  std::vector<int32_t> answer;
  std::vector<int32_t> drafts;  // guesses of what follows the answer, to be checked by the next step
  std::vector<int32_t> pages;
  int64_t num_computed = 0;  // tokens of prompt + answer whose latents are in the cache
  int64_t num_cached = 0;    // of these, tokens that were there when the sequence started
  bool has_started = false;  // a step has computed something of it, since it was last put back
  Prefix prefix;             // pages of the prompt that are indexed
  std::string stored_name;   // in a PageStore, of the last of them

  int64_t num_prompt() const { return static_cast<int64_t>(request.prompt.size()); }
  int64_t num_tokens() const { return num_prompt() + static_cast<int64_t>(answer.size()); }
  bool is_prefilling() const { return num_computed < num_prompt(); }
  bool is_scored() const { return request.num_prompt_logprobs >= 0; }
};

/// Who computes how many tokens in the next forward pass: first sequences that compute their answers' tokens, one each and
/// the drafts after it, or several after a preemption; then those that compute their prompts.
struct StepPlan {
  struct Part {
    Sequence* sequence = nullptr;
    int64_t first = 0;  // position of the first token
    int64_t num_tokens = 0;
    /// True if the part ends with the last token that there is: a draw follows.
    bool draws() const { return first + num_tokens >= sequence->num_tokens(); }
  };
  std::vector<Part> decode, prefill;
  std::vector<Sequence*>
      started;  // those of prefill that ran in no step before this one, or were preempted since
  bool empty() const { return decode.empty() && prefill.empty(); }
};

/// Computed pages of prompts outside the cache (PrefixStore). Named one after the other, each by the one before and its tokens.
class PageStore {
 public:
  virtual ~PageStore() = default;
  virtual std::string name_of(const std::string& before, std::string_view salt,
                              std::span<const int32_t> tokens) const = 0;
  /// Fills the page. False: it has none of this name.
  virtual bool read(const std::string& name, int32_t page) = 0;
  virtual void write(const std::string& name, int32_t page) = 0;
};

struct SchedulerLimits {
  int64_t max_tokens_per_step = 2048;
  int64_t max_num_seqs = 16;
  int64_t max_model_len = 0;
  int64_t max_waiting = INT64_MAX;  // requests that wait; one more is refused
  int64_t max_scored_tokens = 256;  // of a step: each needs a row of logits
  bool prefix_caching = true;
  bool cache_answers = false;  // answers' pages are shared as well; they have not the bits of a prompt's
};

/// Decides what the next forward pass computes. Pure: no clock, no model, no lock.
class Scheduler {
 public:
  /// store: outlives the scheduler; null: none.
  Scheduler(SchedulerLimits limits, int64_t num_pages, int64_t page_size, PageStore* store = nullptr);

  /// Throws kRequest for an empty prompt, one that leaves no room in the context, or max_tokens below 1; kCapacity for a
  /// request that does not fit even the empty cache, and for any when the queue is full. max_tokens is cut to what the
  /// context leaves.
  void submit(RequestId id, Request request);

  /// Answers go first: a late token of an answer is a stutter that someone is watching, a late prefill chunk only a slightly
  /// later first token. A sequence starts when its prompt has pages, and gets more as it grows; when there are none, the
  /// sequence that came last goes back to the queue and is computed again later, with the same result. Of several that begin
  /// with the same pages one computes them, and the others start behind them.
  StepPlan plan();

  /// The part has been computed: its tokens are in the cache, and full pages of a prompt can be shared, of an answer if so
  /// wanted.
  void commit(const StepPlan::Part& part);

  /// Takes a sequence out and gives its pages back. False if there is none of this id (any more).
  bool remove(RequestId id);

  void forget_prefixes() { pages_.forget(); }

  bool idle() const { return waiting_.empty() && running_.empty(); }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t num_preemptions() const { return num_preemptions_; }
  const PageAllocator& pages() const { return pages_; }

 private:
  using Queue =
      std::list<std::unique_ptr<Sequence>>;  // by priority, then oldest first: nobody overtakes or starves
  static void insert(Queue& queue, std::unique_ptr<Sequence> sequence);

  void admit();
  bool admit(Sequence& sequence);
  bool shares_prefixes(const Sequence& sequence) const;
  std::span<const int32_t> page_of_prompt(const Sequence& sequence, int64_t page) const;
  void share_prefix(Sequence& sequence);
  bool is_computed_by(const StepPlan& step, const Sequence& sequence) const;
  void catch_up(Sequence& sequence);
  void put_back(Sequence& sequence);
  void read_stored(Sequence& sequence);
  void index_answer(Sequence& sequence, int64_t computed);
  void name_pages(Sequence& sequence, int64_t from, bool keep);
  void preempt_last();
  int64_t plan_answer(Sequence& sequence, int64_t budget);

  SchedulerLimits limits_;
  PageAllocator pages_;
  PageStore* store_;
  Queue waiting_, running_;
  int64_t num_preemptions_ = 0;
};

}  // namespace hadal::engine
