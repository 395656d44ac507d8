#include "hadal/core/thread_pool.h"

#include <algorithm>
#include <fstream>
#include <string>

#include <sched.h>

#include "hadal/core/error.h"

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

ThreadPool::ThreadPool(int num_threads) {
  HADAL_CHECK(num_threads >= 1 && num_threads <= static_cast<int>(kInside), "a pool of {} threads",
              num_threads);
  threads_.reserve(static_cast<size_t>(num_threads) - 1);
  for (int i = 1; i < num_threads; ++i) threads_.emplace_back([this] { work(); });
}

ThreadPool::~ThreadPool() {
  stopping_ = true;
  state_ += kNumber;
  state_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  body_ = &body;
  n_ = n;
  grain_ = grain;
  next_.store(0, std::memory_order_relaxed);
  error_ = nullptr;
  state_.fetch_add(kNumber | kOpen, std::memory_order_release);
  state_.notify_all();
  take_pieces();
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

void ThreadPool::work() {
  uint32_t seen = 0;
  while (!stopping_) {
    if (!join(seen)) continue;
    take_pieces();
    const uint32_t before = state_.fetch_sub(1, std::memory_order_acq_rel);
    if ((before & (kInside | kOpen)) == 1) state_.notify_all();
  }
}

void ThreadPool::take_pieces() {
  while (true) {
    const int64_t begin = next_.fetch_add(grain_, std::memory_order_relaxed);
    if (begin >= n_) return;
    try {
      (*body_)(begin, std::min(begin + grain_, n_));
    } catch (...) {
      const std::scoped_lock lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
      next_ = n_;  // the rest of the loop is pointless
    }
  }
}

int usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = CPU_COUNT(&set);
  std::ifstream quota_file("/sys/fs/cgroup/cpu.max");  // "max 100000" or "200000 100000"
  std::string quota;
  int64_t period = 0;
  if (quota_file >> quota >> period && quota != "max" && period > 0) {
    const int64_t allowed = std::max<int64_t>(1, std::strtoll(quota.c_str(), nullptr, 10) / period);
    cpus = static_cast<int>(std::min<int64_t>(cpus, allowed));
  }
  return std::max(cpus, 1);
}

}  // namespace hadal
