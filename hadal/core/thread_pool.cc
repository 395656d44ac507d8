#include "hadal/core/thread_pool.h"

#include <algorithm>

#include "hadal/core/error.h"
#include "hadal/core/round.h"

namespace hadal {

namespace {

// Looks this often before it sleeps: some 20 microseconds, longer than what lies between two loops of a forward pass.
constexpr int kLooks = 2000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns the first value of `state` for which done(value); sleeps when it takes long.
template <class Done>
uint32_t wait_until(const std::atomic<uint32_t>& state, const Done& done) {
  while (true) {
    uint32_t value = 0;
    for (int look = 0; look < kLooks; ++look) {
      value = state.load(std::memory_order_acquire);
      if (done(value)) return value;
      pause();
    }
    state.wait(value, std::memory_order_acquire);
  }
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) : ThreadPool(unpinned_threads(num_threads)) {}

ThreadPool::ThreadPool(const ThreadPlan& plan) : shares_(plan.groups.size()) {
  const int num_threads = plan.num_threads();
  HADAL_CHECK(num_threads >= 1 && num_threads <= static_cast<int>(kInside), "a pool of {} threads",
              num_threads);
  int before = 0;
  for (size_t g = 0; g < shares_.size(); ++g) {
    shares_[g].threads_before = before;
    shares_[g].node = plan.groups[g].node;
    before += static_cast<int>(plan.groups[g].cpus.size());
  }
  threads_.reserve(static_cast<size_t>(num_threads) - 1);
  for (size_t g = 0; g < shares_.size(); ++g) {
    for (size_t i = g == 0 ? 1 : 0; i < plan.groups[g].cpus.size(); ++i) {
      threads_.emplace_back([this, g, cpus = plan.groups[g].cpus[i]] {
        if (!cpus.empty()) static_cast<void>(pin_this_thread(cpus));  // a wish: it works elsewhere too
        work(g);
      });
    }
  }
}

ThreadPool::~ThreadPool() {
  stopping_ = true;
  state_ += kNumber;
  state_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

int64_t ThreadPool::first_of(int group, int64_t n, int64_t grain) const {
  if (group == 0) return 0;
  if (group == num_groups()) return n;
  const int64_t pieces = ceil_div(n, grain);
  return std::min(n, pieces * shares_[static_cast<size_t>(group)].threads_before / num_threads() * grain);
}

int ThreadPool::node_of(int64_t index, int64_t n, int64_t grain) const {
  int group = num_groups() - 1;
  while (group > 0 && index < first_of(group, n, grain)) --group;
  return shares_[static_cast<size_t>(group)].node;
}

void ThreadPool::run(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  body_ = &body;
  grain_ = grain;
  for (size_t g = 0; g < shares_.size(); ++g) {
    shares_[g].next.store(first_of(static_cast<int>(g), n, grain), std::memory_order_relaxed);
    shares_[g].end = first_of(static_cast<int>(g) + 1, n, grain);
  }
  error_ = nullptr;
  state_.fetch_add(kNumber | kOpen, std::memory_order_release);
  state_.notify_all();
  take_pieces(0);
  state_.fetch_and(~kOpen, std::memory_order_acq_rel);
  wait_until(state_, [](uint32_t value) { return (value & kInside) == 0; });
  body_ = nullptr;
  if (error_) std::rethrow_exception(error_);
}

// Enters the current loop if it is open and not the one that was seen last.
bool ThreadPool::join(uint32_t& seen) {
  const auto is_news = [&](uint32_t value) { return value / kNumber != seen || stopping_; };
  uint32_t value = wait_until(state_, is_news);
  while ((value & kOpen) != 0) {
    if (!state_.compare_exchange_weak(value, value + 1, std::memory_order_acq_rel)) continue;
    seen = value / kNumber;
    return true;
  }
  seen = value / kNumber;
  return false;
}

void ThreadPool::work(size_t group) {
  uint32_t seen = 0;
  while (!stopping_) {
    if (!join(seen)) continue;
    take_pieces(group);
    const uint32_t before = state_.fetch_sub(1, std::memory_order_acq_rel);
    if ((before & (kInside | kOpen)) == 1) state_.notify_all();
  }
}

// The own group's part first.
void ThreadPool::take_pieces(size_t group) {
  for (size_t i = 0; i < shares_.size(); ++i) take_pieces_of(shares_[(group + i) % shares_.size()]);
}

void ThreadPool::take_pieces_of(Share& share) {
  while (true) {
    const int64_t begin = share.next.fetch_add(grain_, std::memory_order_relaxed);
    if (begin >= share.end) return;
    try {
      (*body_)(begin, std::min(begin + grain_, share.end));
    } catch (...) {
      const std::scoped_lock lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
      for (Share& each : shares_) each.next = each.end;  // the rest of the loop is pointless
    }
  }
}

}  // namespace hadal
