#include "hadal/engine/draft_gate.h"

#include <algorithm>
#include <bit>

namespace hadal::engine {

size_t DraftGate::load_of(int64_t sequences) {
  const auto width =
      static_cast<size_t>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(sequences, 1))));
  return std::min<size_t>(width - 1, 15);
}

void DraftGate::Way::add(double value) {
  ++steps;
  const double weight = std::max(kForget, 1.0 / static_cast<double>(steps));
  seconds_per_token += weight * (value - seconds_per_token);
}

// They do until both ways have been measured.
bool DraftGate::Load::pays() const {
  if (with.steps < kTrial || without.steps < kTrial) return true;
  return with.seconds_per_token <= kMargin * without.seconds_per_token;
}

bool DraftGate::wants(int64_t sequences) const {
  const Load& load = loads_[load_of(sequences)];
  return load.pays() != load.trying();
}

void DraftGate::see(int64_t sequences, bool drafted, int64_t tokens, double seconds) {
  if (tokens == 0) return;
  Load& load = loads_[load_of(sequences)];
  ++load.steps;
  (drafted ? load.with : load.without).add(seconds / static_cast<double>(tokens));
}

}  // namespace hadal::engine
