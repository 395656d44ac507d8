#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace hadal {

/// A fixed set of threads that runs one parallel loop at a time. The calling thread works too. Results must not
/// depend on which thread runs which piece: loops split output elements and never a reduction.
class ThreadPool {
 public:
  /// num_threads counts the caller; 1 starts no thread at all.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(threads_.size()) + 1; }

  /// Calls body(begin, end) for pieces that cover [0, n), each at most `grain` long (the last may be shorter), from all
  /// threads; returns when all are done. The first exception stops the handing out of pieces and is rethrown here.
  /// Not reentrant: body must not call run.
  void run(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

 private:
  void work();
  void take_pieces();
  bool join(uint32_t& seen);

  std::vector<std::thread> threads_;

  // What the threads watch: how many are inside the current loop, whether it still takes threads in, and the loop's
  // number, one word so that all three change together. A thread that wakes up late finds the loop closed and stays out:
  // nobody waits for it.
  static constexpr uint32_t kInside = 0x3ff, kOpen = 0x400, kNumber = 0x800;
  std::atomic<uint32_t> state_{0};
  std::atomic<bool> stopping_{false};

  // The current loop. Written before it is opened.
  const std::function<void(int64_t, int64_t)>* body_ = nullptr;
  int64_t n_ = 0, grain_ = 1;
  alignas(64) std::atomic<int64_t> next_{0};
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

/// body(begin, end) over [0, n) in pieces of at most `grain`. A loop of one piece runs on the caller alone, and so does, in
/// one piece, a loop on a pool of one thread.
template <class Body>
void parallel_for(ThreadPool& pool, int64_t n, int64_t grain, const Body& body) {
  if (n <= 0) return;
  if (n <= grain || pool.num_threads() == 1) {
    body(int64_t{0}, n);
    return;
  }
  pool.run(n, grain, body);
}

/// Cores this process may use: the affinity mask, and the cgroup's CPU quota when it is smaller.
int usable_cpus();

}  // namespace hadal
