#include "hadal/engine/engine_loop.h"

#include <algorithm>
#include <utility>

namespace hadal::engine {
namespace {

RequestId id_of(const Event& event) {
  return std::visit([](const auto& e) { return e.id; }, event);
}

bool is_last(const Event& event) {
  return std::holds_alternative<FinishedEvent>(event) || std::holds_alternative<FailedEvent>(event);
}

}  // namespace

EngineLoop::EngineLoop(Engine& engine, int64_t max_waiting) : engine_(engine), max_waiting_(max_waiting) {
  engine_.on_layers([this] { read_cancellations(); });
  publish();
}

EngineLoop::Ticket EngineLoop::submit(Request request, Handler handler) {
  engine_.check(request);
  const std::lock_guard lock(mutex_);
  if (stopping_)
    fail(ErrorKind::kCapacity,
         "server\n  expected  one that accepts requests\n  found     one that is about to end");
  const int64_t waiting = stats_.waiting + std::ssize(submitted_);
  // Who finds a free place does not wait.
  const int64_t places = engine_.limits().max_num_seqs - stats_.running;
  if (waiting >= max_waiting_ + std::max<int64_t>(places, 0)) {
    fail(ErrorKind::kCapacity, "queue\n  expected  at most {} requests that wait\n  found     {}",
         max_waiting_, waiting);
  }
  const Ticket ticket = next_ticket_++;
  submitted_.push_back({ticket, std::move(request), std::move(handler)});
  wake_.notify_one();
  return ticket;
}

void EngineLoop::cancel(Ticket ticket) {
  const std::lock_guard lock(mutex_);
  cancelled_.push_back(ticket);
  wake_.notify_one();
}

void EngineLoop::forget_prefixes() {
  const std::lock_guard lock(mutex_);
  forget_ = true;
  wake_.notify_one();
}

EngineStats EngineLoop::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.waiting += std::ssize(submitted_);
  return stats;
}

void EngineLoop::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  wake_.notify_one();
}

void EngineLoop::abort() {
  const std::lock_guard lock(mutex_);
  stopping_ = aborting_ = true;
  wake_.notify_one();
}

void EngineLoop::run() {
  while (wait_for_work()) {
    take_mail();
    engine_.step([this](const Event& event) { deliver(event); });
    publish();
  }
}

// Sleeps while there is nothing to do. False: it is over.
bool EngineLoop::wait_for_work() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] {
    return !running_.empty() || !submitted_.empty() || !cancelled_.empty() || forget_ || stopping_;
  });
  return !running_.empty() || !submitted_.empty() || !stopping_;
}

void EngineLoop::take_mail() {
  std::vector<Submission> submitted;
  bool forget = false;
  {
    const std::lock_guard lock(mutex_);
    submitted = std::exchange(submitted_, {});
    stats_.waiting += std::ssize(submitted);  // until publish() knows
    forget = std::exchange(forget_, false);
  }
  if (forget) engine_.forget_prefixes();
  for (Submission& submission : submitted) begin(std::move(submission));
  read_cancellations();
}

void EngineLoop::begin(Submission submission) {
  try {
    const RequestId id = engine_.submit(std::move(submission.request));
    ids_[submission.ticket] = id;
    running_[id] = {submission.ticket, std::move(submission.handler)};
  } catch (const Error& e) {
    submission.handler(FailedEvent{0, e.kind(), e.what()});
  }
}

// Also between the layers of a step: what nobody waits for need not be finished. A request that is still in the mailbox cannot be
// cancelled yet, so its cancellation stays there too.
void EngineLoop::read_cancellations() {
  std::vector<Ticket> cancelled;
  bool all = false;
  {
    const std::lock_guard lock(mutex_);
    cancelled = std::exchange(cancelled_, {});
    std::erase_if(cancelled, [this](Ticket ticket) {
      if (std::ranges::find(submitted_, ticket, &Submission::ticket) == submitted_.end()) return false;
      cancelled_.push_back(ticket);
      return true;
    });
    all = aborting_;
  }
  for (const Ticket ticket : cancelled) {
    if (const auto found = ids_.find(ticket); found != ids_.end()) engine_.cancel(found->second);
  }
  if (!all) return;
  for (const auto& [id, running] : running_) engine_.cancel(id);
}

void EngineLoop::deliver(const Event& event) {
  const auto found = running_.find(id_of(event));
  if (found == running_.end()) return;
  if (!is_last(event)) return found->second.handler(event);
  const Running last = std::move(found->second);
  ids_.erase(last.ticket);
  running_.erase(found);
  last.handler(event);
}

void EngineLoop::publish() {
  const EngineStats stats = engine_.stats();
  const std::lock_guard lock(mutex_);
  stats_ = stats;
}

}  // namespace hadal::engine
