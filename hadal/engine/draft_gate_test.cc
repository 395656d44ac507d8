#include "hadal/engine/draft_gate.h"

#include <gtest/gtest.h>

namespace hadal::engine {
namespace {

// The share of `steps` steps that check drafts, where a step with them costs `with` for each token and one without 1.
double share_drafted(DraftGate& gate, int64_t sequences, double with, int steps) {
  int drafted = 0;
  for (int i = 0; i < steps; ++i) {
    const bool drafts = gate.wants(sequences);
    drafted += drafts ? 1 : 0;
    gate.see(sequences, drafts, 2, 2 * (drafts ? with : 1.0));
  }
  return static_cast<double>(drafted) / steps;
}

TEST(DraftGate, GoesOnWhereDraftsPayAndStopsWhereTheyCost) {
  DraftGate gate;
  EXPECT_TRUE(gate.wants(1));
  EXPECT_GT(share_drafted(gate, 1, 0.6, 5000), 0.95);
  EXPECT_LT(share_drafted(gate, 16, 1.3, 5000), 0.15);
  EXPECT_TRUE(gate.wants(1)) << "what many sequences cost says nothing about one";
}

TEST(DraftGate, NoticesThatItHasChanged) {
  DraftGate gate;
  share_drafted(gate, 4, 1.5, 3000);
  EXPECT_LT(share_drafted(gate, 4, 1.5, 1000), 0.1);
  share_drafted(gate, 4, 0.5, 3000);
  EXPECT_GT(share_drafted(gate, 4, 0.5, 1000), 0.9);
}

TEST(DraftGate, StepsThatDrawNothingSayNothing) {
  DraftGate gate;
  for (int i = 0; i < 1000; ++i) gate.see(1, true, 0, 1.0);
  EXPECT_TRUE(gate.wants(1));
}

}  // namespace
}  // namespace hadal::engine
