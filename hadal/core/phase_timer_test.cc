#include "hadal/core/phase_timer.h"

#include <numeric>
#include <thread>

#include <gtest/gtest.h>

namespace hadal {
namespace {

double of(const std::array<double, kNumPhases>& seconds, Phase phase) {
  return seconds[static_cast<size_t>(phase)];
}

void sleep_ms(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

TEST(PhaseTimer, InnerScopeStopsTheOuterClock) {
  const auto start = PhaseRecorder::Clock::now();
  PhaseRecorder recorder(/*keep_events=*/true);
  {
    const PhaseScope attention(Phase::kAttention);
    sleep_ms(4);
    {
      const PhaseScope dense(Phase::kDense);
      sleep_ms(20);
    }
  }
  sleep_ms(4);
  const auto seconds = recorder.seconds();
  const double passed = std::chrono::duration<double>(PhaseRecorder::Clock::now() - start).count();
  EXPECT_GE(of(seconds, Phase::kDense), 0.020);
  EXPECT_GE(of(seconds, Phase::kAttention), 0.004);
  EXPECT_GE(of(seconds, Phase::kOther), 0.004);
  EXPECT_EQ(of(seconds, Phase::kExperts), 0.0);
  // Nothing is counted twice: a scope's own time inside another would make the sum larger than what passed.
  EXPECT_LE(std::accumulate(seconds.begin(), seconds.end(), 0.0), passed);

  ASSERT_EQ(recorder.events().size(), 2U);  // in the order of their ends
  EXPECT_EQ(recorder.events()[0].phase, Phase::kDense);
  EXPECT_EQ(recorder.events()[1].phase, Phase::kAttention);
  EXPECT_LE(recorder.events()[1].begin, recorder.events()[0].begin);
  EXPECT_GE(recorder.events()[1].end, recorder.events()[0].end);
}

TEST(PhaseTimer, ResetForgets) {
  PhaseRecorder recorder;
  { const PhaseScope head(Phase::kHead); }
  recorder.reset();
  EXPECT_EQ(of(recorder.seconds(), Phase::kHead), 0.0);
  EXPECT_TRUE(recorder.events().empty());
}

TEST(PhaseTimer, OneRecorderOfThisThread) {
  EXPECT_EQ(PhaseRecorder::current(), nullptr);
  {
    const PhaseScope nobody_measures(Phase::kHead);
    PhaseRecorder outer;
    EXPECT_EQ(PhaseRecorder::current(), &outer);
    std::thread([] { EXPECT_EQ(PhaseRecorder::current(), nullptr); }).join();
    {
      PhaseRecorder inner;
      EXPECT_EQ(PhaseRecorder::current(), &inner);
    }
    EXPECT_EQ(PhaseRecorder::current(), &outer);
  }
  EXPECT_EQ(PhaseRecorder::current(), nullptr);
}

TEST(PhaseTimer, NamesAreUnique) {
  EXPECT_EQ(to_string(Phase::kAttention), "attention");
  EXPECT_EQ(to_string(Phase::kOther), "other");
}

}  // namespace
}  // namespace hadal
