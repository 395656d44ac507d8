#include "hadal/core/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"

namespace hadal {
namespace {

constexpr int kThreadCounts[] = {1, 2, 3, 8};

TEST(ThreadPool, CountsTheCaller) {
  for (const int threads : kThreadCounts) EXPECT_EQ(ThreadPool(threads).num_threads(), threads);
  EXPECT_TRUE(contains(error_of(ErrorKind::kInternal, [] { ThreadPool none(0); }), "a pool of 0 threads"));
}

TEST(ThreadPool, VisitsEachIndexOnceInPiecesOfTheGrain) {
  for (const int threads : kThreadCounts) {
    ThreadPool pool(threads);
    for (const int64_t n : {0, 1, 2, 7, 64, 1000}) {
      for (const int64_t grain : {1, 2, 3, 64, 1000, 5000}) {
        SCOPED_TRACE(testing::Message() << threads << " threads, n = " << n << ", grain = " << grain);
        std::vector<int> visits(static_cast<size_t>(n));  // not atomic: no index has two visitors
        std::atomic<int64_t> pieces{0};
        pool.run(n, grain, [&](int64_t begin, int64_t end) {
          EXPECT_EQ(begin % grain, 0);
          EXPECT_EQ(end, std::min(begin + grain, n));
          for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
          ++pieces;
        });
        EXPECT_EQ(std::ranges::count(visits, 1), n);
        EXPECT_EQ(pieces, (n + grain - 1) / grain);
      }
    }
  }
}

TEST(ParallelFor, VisitsEachIndexOnce) {
  for (const int threads : kThreadCounts) {
    ThreadPool pool(threads);
    for (const int64_t n : {-1, 0, 1, 7, 100}) {
      for (const int64_t grain : {1, 8, 100}) {
        std::vector<int> visits(static_cast<size_t>(std::max<int64_t>(n, 0)));
        parallel_for(pool, n, grain, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
        });
        EXPECT_EQ(std::ranges::count(visits, 1), std::max<int64_t>(n, 0));
      }
    }
  }
}

TEST(ParallelFor, KeepsALoopOfOnePieceOnTheCaller) {
  ThreadPool pool(4);
  for (const int64_t n : {1, 15, 16}) {
    std::vector<std::thread::id> workers;
    parallel_for(pool, n, 16, [&](int64_t begin, int64_t end) {
      EXPECT_EQ(std::pair(begin, end), std::pair(int64_t{0}, n));
      workers.push_back(std::this_thread::get_id());
    });
    EXPECT_EQ(workers, std::vector{std::this_thread::get_id()});
  }
}

// Each piece waits until all have begun, which only as many threads can do.
TEST(ThreadPool, WorksOnAllThreadsAtOnce) {
  constexpr int kThreads = 3;
  ThreadPool pool(kThreads);
  std::atomic<int> inside{0};
  std::atomic<bool> met{true};
  pool.run(kThreads, 1, [&](int64_t, int64_t) {
    ++inside;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (inside < kThreads && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    if (inside < kThreads) met = false;
  });
  EXPECT_TRUE(met);
}

std::string what_of_run(ThreadPool& pool, int64_t n, const std::function<void(int64_t, int64_t)>& body) {
  try {
    pool.run(n, 1, body);
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "nothing was thrown";
}

TEST(ThreadPool, RethrowsTheExceptionAndGoesOn) {
  for (const int threads : kThreadCounts) {
    ThreadPool pool(threads);
    for (int round = 0; round < 50; ++round) {
      const auto body = [](int64_t begin, int64_t) {
        if (begin == 17) throw std::runtime_error("piece 17");
      };
      EXPECT_EQ(what_of_run(pool, 100, body), "piece 17");
      std::atomic<int64_t> sum{0};
      pool.run(100, 3, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) sum += i;
      });
      EXPECT_EQ(sum, 4950);
    }
  }
}

TEST(ThreadPool, RethrowsOneOfMany) {
  ThreadPool pool(4);
  for (int round = 0; round < 200; ++round) {
    const auto body = [](int64_t begin, int64_t) { throw std::runtime_error(std::to_string(begin)); };
    const std::string what = what_of_run(pool, 1000, body);
    EXPECT_LT(std::stoi(what), 4) << "each thread throws at its first piece, and these are the first four";
  }
}

TEST(ThreadPool, AnExceptionStopsTheHandingOut) {
  ThreadPool alone(1);
  int calls = 0;
  const auto body = [&](int64_t begin, int64_t) {
    ++calls;
    if (begin == 5) throw std::runtime_error("stop");
  };
  EXPECT_EQ(what_of_run(alone, 1'000'000, body), "stop");
  EXPECT_EQ(calls, 6);
}

// Loops so short that threads still leave one when the next begins; under TSan, a missing order between a loop's writes
// and the caller's reads shows.
TEST(ThreadPool, RunsThousandsOfShortLoops) {
  ThreadPool pool(4);
  std::vector<int64_t> values(8);
  int64_t added = 0;
  for (int64_t round = 1; round <= 20'000; ++round) {
    const int64_t n = round % 8 + 1;
    pool.run(n, 1, [&](int64_t begin, int64_t) { values[static_cast<size_t>(begin)] += round; });
    added += n * round;
    if (round % 100 == 0) {
      ASSERT_EQ(std::accumulate(values.begin(), values.end(), int64_t{0}), added) << round;
    }
  }
}

TEST(ThreadPool, StartsAndEnds) {
  for (int i = 0; i < 200; ++i) {
    ThreadPool pool(1 + i % 5);
    if (i % 2 == 0) continue;  // also without ever having run a loop
    std::atomic<int> count{0};
    pool.run(3, 1, [&](int64_t, int64_t) { ++count; });
    EXPECT_EQ(count, 3);
  }
}

TEST(UsableCpus, IsNeverMoreThanTheMachineHas) {
  EXPECT_GE(usable_cpus(), 1);
  EXPECT_LE(usable_cpus(), static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
}

}  // namespace
}  // namespace hadal
