#include "hadal/engine/scheduler.h"

#include <algorithm>

#include "hadal/core/error.h"

namespace hadal::engine {

Scheduler::Scheduler(SchedulerLimits limits, int64_t num_pages, int64_t page_size)
    : limits_(limits), pages_(num_pages, page_size) {}

void Scheduler::submit(RequestId id, Request request) {
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  if (prompt == 0) fail(ErrorKind::kRequest, "prompt\n  expected  at least one token\n  found     none");
  if (prompt >= limits_.max_model_len) {
    fail(ErrorKind::kRequest,
         "prompt\n  expected  fewer tokens than the context holds ({})\n  found     {} tokens\n"
         "  hint      --max-model-len, up to the model's max_position_embeddings",
         limits_.max_model_len, prompt);
  }
  if (request.max_tokens < 1) {
    fail(ErrorKind::kRequest, "max_tokens\n  expected  at least 1\n  found     {}", request.max_tokens);
  }
  request.max_tokens = std::min(request.max_tokens, limits_.max_model_len - prompt);
  if (!pages_.can_ever_hold(prompt + request.max_tokens)) {
    fail(ErrorKind::kCapacity,
         "request\n  expected  at most what the whole cache holds\n  found     {} tokens",
         prompt + request.max_tokens);
  }
  auto sequence = std::make_unique<Sequence>();
  sequence->id = id;
  sequence->request = std::move(request);
  waiting_.push_back(std::move(sequence));
}

void Scheduler::admit() {
  while (!waiting_.empty() && static_cast<int64_t>(running_.size()) < limits_.max_num_seqs) {
    Sequence& next = *waiting_.front();
    if (!pages_.reserve(next.pages, next.num_prompt() + next.request.max_tokens)) return;
    running_.splice(running_.end(), waiting_, waiting_.begin());
  }
}

StepPlan Scheduler::plan() {
  admit();
  StepPlan step;
  int64_t budget = limits_.max_tokens_per_step;
  for (const auto& sequence : running_) {
    if (sequence->is_prefilling() || budget == 0) continue;
    step.decode.push_back({sequence.get(), 1});
    --budget;
  }
  for (const auto& sequence : running_) {
    const int64_t left = sequence->num_prompt() - sequence->num_computed;
    const int64_t now = std::min(budget, left);
    if (now <= 0) continue;
    step.prefill.push_back({sequence.get(), now});
    budget -= now;
  }
  return step;
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
