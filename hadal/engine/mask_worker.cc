#include "hadal/engine/mask_worker.h"

#include <algorithm>
#include <utility>

namespace hadal::engine {

MaskWorker::~MaskWorker() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void MaskWorker::begin(const StepPlan& plan) {
  std::vector<Task> tasks;
  for (const auto* parts : {&plan.decode, &plan.prefill}) {
    for (const StepPlan::Part& part : *parts)
      if (part.draws() && part.sequence->request.token_mask) tasks.push_back({part.sequence, {}, nullptr});
  }
  if (tasks.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    tasks_ = std::move(tasks);
    num_done_ = 0;
  }
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  wake_.notify_one();
}

void MaskWorker::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || num_done_ < tasks_.size(); });
    if (stop_) return;
    Task task = tasks_[num_done_];
    lock.unlock();
    try {
      task.mask = task.sequence->request.token_mask(task.sequence->answer);
    } catch (...) {
      task.error = std::current_exception();
    }
    lock.lock();
    tasks_[num_done_++] = std::move(task);
    done_.notify_one();
  }
}

std::span<const uint32_t> MaskWorker::take(const Sequence& sequence) {
  {
    std::unique_lock lock(mutex_);
    const auto found = std::ranges::find(tasks_, &sequence, &Task::sequence);
    if (found != tasks_.end()) {
      done_.wait(lock, [&] { return std::cmp_less(found - tasks_.begin(), num_done_); });
      found->sequence = nullptr;
      if (found->error) std::rethrow_exception(std::exchange(found->error, nullptr));
      return found->mask;
    }
  }
  return sequence.request.token_mask(sequence.answer);
}

void MaskWorker::end() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return num_done_ == tasks_.size(); });
  tasks_.clear();
  num_done_ = 0;
}

}  // namespace hadal::engine
