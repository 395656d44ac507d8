#include "hadal/engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "hadal/core/error.h"

namespace hadal::engine {
namespace {

bool before(const Sequence& a, const Sequence& b) {
  return a.request.priority != b.request.priority ? a.request.priority < b.request.priority : a.id < b.id;
}

}  // namespace

Scheduler::Scheduler(SchedulerLimits limits, int64_t num_pages, int64_t page_size, PageStore* store)
    : limits_(limits), pages_(num_pages, page_size), store_(store) {}

void Scheduler::submit(RequestId id, Request request) {
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  if (prompt == 0) fail(ErrorKind::kRequest, "prompt\n  expected  at least one token\n  found     none");
  const bool answers = request.max_tokens != 0 || request.num_prompt_logprobs < 0;
  if (prompt >= limits_.max_model_len + (answers ? 0 : 1)) {
    fail(ErrorKind::kRequest,
         "prompt\n  expected  fewer tokens than the context holds ({})\n  found     {} tokens\n"
         "  hint      --max-model-len, up to the model's max_position_embeddings",
         limits_.max_model_len, prompt);
  }
  if (request.max_tokens < (answers ? 1 : 0)) {
    fail(ErrorKind::kRequest, "max_tokens\n  expected  at least 1\n  found     {}", request.max_tokens);
  }
  request.max_tokens = std::min(request.max_tokens, limits_.max_model_len - prompt);
  if (!pages_.can_ever_hold(prompt + request.max_tokens)) {
    fail(ErrorKind::kCapacity,
         "request\n  expected  at most what the whole cache holds\n  found     {} tokens",
         prompt + request.max_tokens);
  }
  if (num_waiting() >= limits_.max_waiting) {
    fail(ErrorKind::kCapacity, "queue\n  expected  fewer than {} requests that wait\n  found     {}",
         limits_.max_waiting, num_waiting());
  }
  auto sequence = std::make_unique<Sequence>();
  sequence->id = id;
  sequence->request = std::move(request);
  insert(waiting_, std::move(sequence));
}

void Scheduler::insert(Queue& queue, std::unique_ptr<Sequence> sequence) {
  auto at = queue.end();
  while (at != queue.begin() && before(*sequence, **std::prev(at))) --at;
  queue.insert(at, std::move(sequence));
}

// A score needs the logits of every token.
bool Scheduler::shares_prefixes(const Sequence& sequence) const {
  return limits_.prefix_caching && !sequence.is_scored();
}

std::span<const int32_t> Scheduler::page_of_prompt(const Sequence& sequence, int64_t page) const {
  const auto size = static_cast<size_t>(pages_.page_size());
  return std::span(sequence.request.prompt).subspan(static_cast<size_t>(page) * size, size);
}

// Takes what is indexed of the prompt's beginning, all but the last token, which needs its logits.
void Scheduler::share_prefix(Sequence& sequence) {
  const auto prompt = std::span<const int32_t>(sequence.request.prompt);
  pages_.match_prefix(sequence.prefix, prompt.first(prompt.size() - 1), sequence.request.cache_salt,
                      sequence.pages);
  sequence.num_cached = sequence.num_computed = sequence.prefix.num_pages * pages_.page_size();
}

// Pages for all that it has to compute. One more for each that runs stays free, or the first of them that grows would throw
// it out again.
bool Scheduler::admit(Sequence& sequence) {
  if (shares_prefixes(sequence)) share_prefix(sequence);
  const bool fits = pages_.reserve(sequence.pages, sequence.num_tokens());
  if (!fits || (!running_.empty() && pages_.num_free() < num_running())) {
    put_back(sequence);
    return false;
  }
  if (store_ && shares_prefixes(sequence)) read_stored(sequence);
  return true;
}

// The pages of the prompt that are indexed from number `from` on get their names, and perhaps copies in the store.
void Scheduler::name_pages(Sequence& sequence, int64_t from, bool keep) {
  for (int64_t page = from; page < sequence.prefix.num_pages; ++page) {
    sequence.stored_name =
        store_->name_of(sequence.stored_name, sequence.request.cache_salt, page_of_prompt(sequence, page));
    if (keep) store_->write(sequence.stored_name, sequence.pages[static_cast<size_t>(page)]);
  }
}

// After the pages that are in the cache come those that are in the store; all but the last token's, which needs its logits.
void Scheduler::read_stored(Sequence& sequence) {
  const int64_t size = pages_.page_size();
  const auto prompt = std::span<const int32_t>(sequence.request.prompt);
  const int64_t& page = sequence.prefix.num_pages;
  name_pages(sequence, 0, false);
  while ((page + 1) * size < std::ssize(prompt)) {
    const std::string name =
        store_->name_of(sequence.stored_name, sequence.request.cache_salt, page_of_prompt(sequence, page));
    if (!store_->read(name, sequence.pages[static_cast<size_t>(page)])) break;
    sequence.stored_name = name;
    pages_.index(sequence.prefix, prompt.first(static_cast<size_t>((page + 1) * size)),
                 sequence.request.cache_salt, sequence.pages);
  }
  sequence.num_cached = sequence.num_computed = page * size;
}

void Scheduler::admit() {
  while (!waiting_.empty()) {
    Sequence& next = *waiting_.front();
    if (num_running() < limits_.max_num_seqs && admit(next)) {
      auto sequence = std::move(waiting_.front());
      waiting_.pop_front();
      insert(running_, std::move(sequence));
      continue;
    }
    // Only a smaller priority number puts somebody else back.
    if (running_.empty() || next.request.priority >= running_.back()->request.priority) return;
    preempt_last();
  }
}

// True if the step computes the page of the prompt that comes next for this sequence: the same text after the same prefix.
bool Scheduler::is_computed_by(const StepPlan& step, const Sequence& sequence) const {
  const Prefix& prefix = sequence.prefix;
  const int64_t end = (prefix.num_pages + 1) * pages_.page_size();
  if (end >= sequence.num_prompt()) return false;
  return std::ranges::any_of(step.prefill, [&](const StepPlan::Part& part) {
    const Sequence& other = *part.sequence;
    return other.prefix.num_pages == prefix.num_pages && other.prefix.chain == prefix.chain &&
           other.request.cache_salt == sequence.request.cache_salt && other.num_prompt() >= end &&
           std::ranges::equal(page_of_prompt(other, prefix.num_pages),
                              page_of_prompt(sequence, prefix.num_pages));
  });
}

// Takes what others have computed since the sequence was admitted. Before its first step only.
void Scheduler::catch_up(Sequence& sequence) {
  const int64_t before = sequence.prefix.num_pages;
  share_prefix(sequence);
  if (store_) name_pages(sequence, before, false);
}

// Gives up its pages, and all that was known of them.
void Scheduler::put_back(Sequence& sequence) {
  pages_.release(sequence.pages);
  sequence.num_computed = sequence.num_cached = 0;
  sequence.prefix = {};
  sequence.stored_name.clear();
  sequence.drafts.clear();
  sequence.has_started = false;
}

void Scheduler::preempt_last() {
  auto sequence = std::move(running_.back());
  running_.pop_back();
  put_back(*sequence);
  ++num_preemptions_;
  insert(waiting_, std::move(sequence));
}

// How many tokens of its answer it computes now; 0: it came last itself and went back to the queue.
int64_t Scheduler::plan_answer(Sequence& sequence, int64_t budget) {
  const int64_t left = sequence.num_tokens() - sequence.num_computed;
  const int64_t room = sequence.request.max_tokens - static_cast<int64_t>(sequence.answer.size()) - 1;
  const int64_t drafts = std::clamp<int64_t>(room, 0, std::ssize(sequence.drafts));
  int64_t now = std::min(budget, left + drafts);
  if (now > left && !pages_.reserve(sequence.pages, sequence.num_computed + now)) now = left;
  sequence.drafts.resize(static_cast<size_t>(std::max<int64_t>(now - left, 0)));
  while (!pages_.reserve(sequence.pages, sequence.num_computed + now)) {
    const bool itself = running_.back().get() == &sequence;
    preempt_last();
    if (itself) return 0;
  }
  return now;
}

StepPlan Scheduler::plan() {
  StepPlan step;
  admit();
  int64_t budget = limits_.max_tokens_per_step, scores = limits_.max_scored_tokens;
  for (auto at = running_.begin(); at != running_.end() && budget > 0; ++at) {
    if ((*at)->is_prefilling()) continue;
    Sequence& sequence = **at;
    const int64_t now = plan_answer(sequence, budget);
    if (now == 0) break;  // it was the last one
    step.decode.push_back({&sequence, sequence.num_computed, now});
    budget -= now;
  }
  for (const auto& sequence : running_) {
    if (!sequence->is_prefilling()) continue;
    if (!sequence->has_started && shares_prefixes(*sequence)) {
      catch_up(*sequence);
      if (is_computed_by(step, *sequence)) continue;
    }
    int64_t now = std::min(budget, sequence->num_prompt() - sequence->num_computed);
    if (sequence->is_scored()) now = std::min(now, scores);
    if (now <= 0) continue;
    if (!std::exchange(sequence->has_started, true)) step.started.push_back(sequence.get());
    step.prefill.push_back({sequence.get(), sequence->num_computed, now});
    budget -= now;
    if (sequence->is_scored()) scores -= now;
  }
  return step;
}

void Scheduler::commit(const StepPlan::Part& part) {
  Sequence& sequence = *part.sequence;
  sequence.num_computed += part.num_tokens;
  if (!limits_.prefix_caching) return;
  if (limits_.cache_answers) index_answer(sequence, part.first);
  if (sequence.prefix.num_pages * pages_.page_size() >= sequence.num_prompt()) return;
  const auto computed = std::min(sequence.num_computed, sequence.num_prompt());
  const int64_t before = sequence.prefix.num_pages;
  pages_.index(sequence.prefix, std::span(sequence.request.prompt).first(static_cast<size_t>(computed)),
               sequence.request.cache_salt, sequence.pages);
  if (store_) name_pages(sequence, before, true);
}

// computed: tokens in the cache that are no drafts any more.
void Scheduler::index_answer(Sequence& sequence, int64_t computed) {
  const int64_t end = (sequence.prefix.num_pages + 1) * pages_.page_size();
  if (end <= sequence.num_prompt() || end > computed) return;
  std::vector<int32_t> tokens = sequence.request.prompt;
  tokens.insert(tokens.end(), sequence.answer.begin(),
                sequence.answer.begin() + (computed - sequence.num_prompt()));
  pages_.index(sequence.prefix, tokens, sequence.request.cache_salt, sequence.pages);
}

bool Scheduler::remove(RequestId id) {
  for (auto* list : {&running_, &waiting_}) {
    const auto found = std::ranges::find_if(*list, [id](const auto& sequence) { return sequence->id == id; });
    if (found == list->end()) continue;
    pages_.release((*found)->pages);
    list->erase(found);
    return true;
  }
  return false;
}

}  // namespace hadal::engine
