#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "hadal/core/thread_plan.h"

namespace hadal {

/// A fixed set of threads that runs one parallel loop at a time. The calling thread works too. Results must not
/// depend on which thread runs which piece: loops split output elements and never a reduction.
///
/// Threads may be in groups, one for each NUMA node. Group g begins with the g-th contiguous part of each loop, in proportion to
/// its threads, and helps the others when nothing of it is left; so what is indexed alike in all loops, the rows of a weight, is
/// read by the same node's threads.
class ThreadPool {
 public:
  /// num_threads counts the caller; 1 starts no thread at all. One group, not pinned.
  explicit ThreadPool(int num_threads);
  /// Pins the threads it starts as the plan says, where Linux lets it. The caller, first of the first group, is left as it is.
  explicit ThreadPool(const ThreadPlan& plan);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(threads_.size()) + 1; }
  int num_groups() const { return static_cast<int>(shares_.size()); }

  /// Where group g's part of a loop over [0, n) in pieces of `grain` begins; n for g = num_groups().
  int64_t first_of(int group, int64_t n, int64_t grain) const;
  /// The NUMA node whose threads begin with the piece at `index`.
  int node_of(int64_t index, int64_t n, int64_t grain) const;

  /// Calls body(begin, end) for pieces that cover [0, n), each at most `grain` long (the last may be shorter), from all
  /// threads; returns when all are done. The first exception stops the handing out of pieces and is rethrown here.
  /// Not reentrant: body must not call run.
  void run(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

 private:
  // A group's part of the current loop.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
    int threads_before = 0;  // in the groups before this one
    int node = 0;
  };

  void work(size_t group);
  void take_pieces(size_t group);
  void take_pieces_of(Share& share);
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
  int64_t grain_ = 1;
  std::vector<Share> shares_;
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

}  // namespace hadal
