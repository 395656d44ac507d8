#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace hadal::engine {

/// Whether drafts pay: seconds per drawn token with and without them, by how many sequences answer together, because many of
/// them fill a step as well as drafts do. Tries the other way for a while from time to time. Decides about speed only: tokens do
/// not depend on drafts. Pure: told the times.
class DraftGate {
 public:
  /// Whether the next step should check drafts, with so many sequences that answer.
  bool wants(int64_t sequences) const;
  /// A step that only answered: with drafts or without, the tokens that it drew, and how long it took.
  void see(int64_t sequences, bool drafted, int64_t tokens, double seconds);

 private:
  static constexpr int64_t kTrial = 16, kBetweenTrials = 512;  // steps
  static constexpr double kForget = 0.05;                      // weight of a new step in the average
  static constexpr double kMargin = 1.02;                      // so much slower, and it is switched off

  struct Way {
    double seconds_per_token = 0.0;
    int64_t steps = 0;
    void add(double value);
  };
  struct Load {
    Way with, without;
    int64_t steps = 0;
    bool trying() const { return steps % kBetweenTrials >= kBetweenTrials - kTrial; }
    bool pays() const;
  };
  static size_t load_of(int64_t sequences);

  std::array<Load, 16> loads_;  // 1, 2-3, 4-7, ...
};

}  // namespace hadal::engine
