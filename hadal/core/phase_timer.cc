#include "hadal/core/phase_timer.h"

#include <utility>

namespace hadal {

constinit thread_local PhaseRecorder* PhaseRecorder::current_ = nullptr;

std::string_view to_string(Phase phase) {
  constexpr std::array<std::string_view, kNumPhases> kNames = {"attention", "experts",  "dense",
                                                               "head",      "sampling", "other"};
  return kNames[static_cast<size_t>(phase)];
}

PhaseRecorder::PhaseRecorder(bool keep_events)
    : outer_(std::exchange(current_, this)), keep_events_(keep_events), since_(Clock::now()) {}

PhaseRecorder::~PhaseRecorder() {
  current_ = outer_;
}

void PhaseRecorder::switch_to(Phase phase) {
  const auto now = Clock::now();
  seconds_[static_cast<size_t>(phase_)] += std::chrono::duration<double>(now - since_).count();
  phase_ = phase;
  since_ = now;
}

std::array<double, kNumPhases> PhaseRecorder::seconds() {
  switch_to(phase_);
  return seconds_;
}

void PhaseRecorder::reset() {
  seconds_ = {};
  since_ = Clock::now();
}

void PhaseScope::begin(Phase phase) {
  outer_ = recorder_->phase_;
  phase_ = phase;
  recorder_->switch_to(phase);
  begin_ = recorder_->since_;
}

void PhaseScope::end() {
  recorder_->switch_to(outer_);
  if (recorder_->keep_events_) recorder_->events_.push_back({phase_, begin_, recorder_->since_});
}

}  // namespace hadal
