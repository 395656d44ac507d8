#include "hadal/core/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <sched.h>
#include <time.h>

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

// Groups of so many threads each, not pinned; group g is on node 10 + g.
ThreadPlan groups_of(const std::vector<size_t>& threads) {
  ThreadPlan plan;
  for (size_t g = 0; g < threads.size(); ++g)
    plan.groups.push_back({10 + static_cast<int>(g), std::vector<CpuList>(threads[g])});
  return plan;
}

TEST(ThreadGroups, VisitEachIndexOnceInTheSamePieces) {
  for (const auto& threads : {std::vector<size_t>{1, 1}, {2, 2}, {3, 1}, {1, 2, 3}}) {
    ThreadPool pool(groups_of(threads));
    for (const int64_t n : {0, 1, 2, 7, 64, 1000}) {
      for (const int64_t grain : {1, 3, 64, 5000}) {
        std::vector<int> visits(static_cast<size_t>(n));
        pool.run(n, grain, [&](int64_t begin, int64_t end) {
          EXPECT_EQ(begin % grain, 0);
          EXPECT_EQ(end, std::min(begin + grain, n));
          for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
        });
        EXPECT_EQ(std::ranges::count(visits, 1), n);
      }
    }
  }
}

TEST(ThreadGroups, HavePartsInProportionToTheirThreads) {
  const ThreadPool pool(groups_of({2, 1, 1}));
  EXPECT_EQ(pool.num_groups(), 3);
  EXPECT_EQ(pool.num_threads(), 4);
  const auto firsts = [&](int64_t n, int64_t grain) {
    return std::vector{pool.first_of(0, n, grain), pool.first_of(1, n, grain), pool.first_of(2, n, grain),
                       pool.first_of(3, n, grain)};
  };
  EXPECT_EQ(firsts(100, 1), (std::vector<int64_t>{0, 50, 75, 100}));
  EXPECT_EQ(firsts(100, 10), (std::vector<int64_t>{0, 50, 70, 100}));  // whole pieces
  EXPECT_EQ(firsts(35, 10), (std::vector<int64_t>{0, 20, 30, 35}));
  EXPECT_EQ(firsts(1, 10), (std::vector<int64_t>{0, 0, 0, 1}));
  EXPECT_EQ(firsts(0, 10), (std::vector<int64_t>{0, 0, 0, 0}));
  const std::vector<int> nodes = {pool.node_of(0, 100, 10), pool.node_of(49, 100, 10),
                                  pool.node_of(50, 100, 10), pool.node_of(70, 100, 10),
                                  pool.node_of(99, 100, 10)};
  EXPECT_EQ(nodes, (std::vector<int>{10, 10, 11, 12, 12}));
}

// Waits until `done`; false after 20 seconds.
bool wait_for(const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!done() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  return done();
}

TEST(ThreadGroups, BeginWithTheirOwnPart) {
  ThreadPool pool(groups_of({1, 1}));
  for (int round = 0; round < 100; ++round) {
    std::atomic<int> inside{0};
    std::vector<std::thread::id> thread_of(2);
    pool.run(2, 1, [&](int64_t begin, int64_t) {
      thread_of[static_cast<size_t>(begin)] = std::this_thread::get_id();
      ++inside;
      EXPECT_TRUE(wait_for([&] { return inside == 2; }));  // so that neither takes both
    });
    EXPECT_EQ(thread_of[0], std::this_thread::get_id());
    EXPECT_NE(thread_of[1], std::this_thread::get_id());
  }
}

TEST(ThreadGroups, HelpTheOthersInTheEnd) {
  ThreadPool pool(groups_of({1, 1}));
  std::atomic<int> others{0};
  pool.run(8, 1, [&](int64_t begin, int64_t) {
    // The second group's thread stays with its first piece until the caller has done all that is left.
    if (begin == 4) {
      EXPECT_TRUE(wait_for([&] { return others == 7; }));
    } else {
      ++others;
    }
  });
  EXPECT_EQ(others, 7);
}

TEST(ThreadGroups, RethrowAndGoOn) {
  ThreadPool pool(groups_of({2, 2}));
  for (int round = 0; round < 50; ++round) {
    EXPECT_EQ(what_of_run(pool, 100,
                          [](int64_t begin, int64_t) {
                            if (begin == 77) throw std::runtime_error("piece 77");
                          }),
              "piece 77");
  }
}

TEST(ThreadPool, RunsThreadsWhereThePlanSays) {
  const int last = allowed_cpus().back();
  ThreadPool pool(ThreadPlan{{{0, {{}, {last}}}}});
  std::atomic<int> inside{0};
  int cpu = -1;
  const auto caller = std::this_thread::get_id();
  pool.run(2, 1, [&](int64_t, int64_t) {
    ++inside;
    EXPECT_TRUE(wait_for([&] { return inside == 2; }));
    if (std::this_thread::get_id() != caller) cpu = sched_getcpu();
  });
  EXPECT_EQ(cpu, last);
}

double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Threads that looked for work all the time would use 0.5 s each.
TEST(ThreadPool, AnIdlePoolSleeps) {
  ThreadPool pool(4);
  pool.run(1000, 1, [](int64_t, int64_t) {});
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_LT(cpu_seconds() - before, 0.1);
}

}  // namespace
}  // namespace hadal
