#include "hadal/core/thread_plan.h"

#include <algorithm>
#include <thread>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"
#include "hadal/core/test_topology.h"

namespace hadal {
namespace {

constexpr std::nullopt_t kNoQuota = std::nullopt;
const CpuList kEight = {0, 1, 2, 3, 4, 5, 6, 7};  // all of two_node_topology(2)

using Pins = std::vector<CpuList>;

ThreadPlan plan(const ThreadRequest& request, const CpuList& allowed = kEight,
                std::optional<double> quota = kNoQuota) {
  return plan_threads(request, two_node_topology(2), allowed, quota);
}

TEST(ThreadPlan, TakesEachProcessorOnce) {
  const ThreadPlan all = plan({});
  ASSERT_EQ(all.groups.size(), 1U);
  // Cores 0 and 1 of node 0 are 0 and 1, of node 1 2 and 3; their second threads are 4 to 7.
  EXPECT_EQ(all.groups[0].cpus, Pins({{0}, {2}, {1}, {3}, {4}, {6}, {5}, {7}}));
  EXPECT_EQ(all.cpus(), kEight);
  EXPECT_EQ(all.num_threads(), 8);
}

TEST(ThreadPlan, KeepsToTheAffinityMask) {
  EXPECT_EQ(plan({}, {1, 5, 6}).groups[0].cpus, Pins({{1}, {6}, {5}}));  // 5 is the second thread of 1's core
}

TEST(ThreadPlan, DoesNotPinPartOfTheMachineUnasked) {
  EXPECT_EQ(plan({.threads = 3}).groups[0].cpus, Pins(3));
  EXPECT_EQ(plan({}, kEight, 2.9).groups[0].cpus, Pins(2));
  EXPECT_EQ(plan({}, kEight, 0.5).num_threads(), 1);
  EXPECT_EQ(plan({}, kEight, 8.0).cpus(), kEight);
  EXPECT_EQ(plan({.threads = 20}).groups[0].cpus, Pins(20));
  EXPECT_TRUE(plan({.threads = 20}).cpus().empty());
}

TEST(ThreadPlan, AListIsTakenAtItsWord) {
  EXPECT_EQ(plan({.cpus = {2, 3, 7}}).groups[0].cpus, Pins({{2}, {3}, {7}}));
  EXPECT_EQ(plan({.cpus = {0, 4, 1, 5}}, kEight, 2.0).num_threads(), 4) << "a list is not cut by a quota";
  EXPECT_EQ(plan({.threads = 2, .cpus = {0, 1, 4, 5}}).groups[0].cpus, Pins({{0}, {1}}))
      << "cores before siblings";
}

TEST(ThreadPlan, RefusesAListThatCannotBe) {
  EXPECT_TRUE(contains(error_of(ErrorKind::kUsage,
                                [] {
                                  plan({.cpus = {1, 8}});
                                }),
                       {"--cpu-list 1,8", "may use: 0-7", "found     8"}));
  EXPECT_TRUE(contains(error_of(ErrorKind::kUsage,
                                [] {
                                  plan({.threads = 3, .cpus = {1, 2}});
                                }),
                       {"--threads 3", "at most 2", "--cpu-list 1-2"}));
}

TEST(ThreadPlan, MakesAGroupForEachNode) {
  const ThreadPlan all = plan({.by_node = true});
  ASSERT_EQ(all.groups.size(), 2U);
  EXPECT_EQ(all.groups[0].node, 0);
  EXPECT_EQ(all.groups[0].cpus, Pins({{0}, {1}, {4}, {5}}));
  EXPECT_EQ(all.groups[1].node, 1);
  EXPECT_EQ(all.groups[1].cpus, Pins({{2}, {3}, {6}, {7}}));

  const ThreadPlan some = plan({.threads = 3, .by_node = true});  // kept on their nodes, not on one processor
  ASSERT_EQ(some.groups.size(), 2U);
  EXPECT_EQ(some.groups[0].cpus, Pins({{0, 1, 4, 5}, {0, 1, 4, 5}}));
  EXPECT_EQ(some.groups[1].cpus, Pins({{2, 3, 6, 7}}));

  const ThreadPlan one_node = plan({.cpus = {0, 1}, .by_node = true});
  ASSERT_EQ(one_node.groups.size(), 1U);
  EXPECT_EQ(one_node.groups[0].cpus, Pins({{0}, {1}}));
  EXPECT_EQ(plan({.threads = 1, .by_node = true}).groups.size(), 1U);
}

TEST(ThreadPlan, WorksWithoutATopology) {
  EXPECT_EQ(plan_threads({.by_node = true}, {}, {3, 4}, kNoQuota).groups[0].cpus, Pins({{3}, {4}}));
}

TEST(ThreadPlan, OfThisMachine) {
  EXPECT_EQ(plan_threads({}).num_threads(), usable_cpus());
  EXPECT_GE(usable_cpus(), 1);
  EXPECT_LE(usable_cpus(), static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
}

}  // namespace
}  // namespace hadal
