#include "hadal/serve/request_meter.h"

#include <algorithm>

namespace hadal::serve {
namespace {

using Moment = RequestMeter::Moment;

double seconds_between(Moment from, Moment to) {
  return std::chrono::duration<double>(to - from).count();
}

// A request that is preempted starts more than once.
bool is_set(Moment time) {
  return time != Moment();
}

std::string_view name_of(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kStop:
      return "stop";
    case engine::FinishReason::kLength:
      return "length";
    case engine::FinishReason::kCancelled:
      break;
  }
  return "abort";
}

}  // namespace

void RequestMeter::begin(Metrics& metrics, size_t num_choices) {
  metrics_ = &metrics;
  num_choices_ = num_choices;
}

void RequestMeter::submit(size_t number, int64_t prompt_tokens, Moment now) {
  if (runs_.size() <= number) runs_.resize(number + 1);
  runs_[number].submitted = now;
  runs_[number].prompt_tokens = prompt_tokens;
}

void RequestMeter::see(size_t number, const engine::Event& event, Moment now) {
  Run& run = runs_[number];
  if (!run.finish_reason.empty()) return;
  if (const auto* started = std::get_if<engine::StartedEvent>(&event)) {
    if (is_set(run.started)) return;
    run.started = now;
    run.cached_tokens = started->num_cached_tokens;
    metrics_->observe(Measure::kQueueTime, seconds_between(run.submitted, now));
  } else if (std::holds_alternative<engine::TokenEvent>(event)) {
    ++run.tokens;
    if (fresh_.empty() || fresh_.back() != number) fresh_.push_back(number);
  } else if (const auto* finished = std::get_if<engine::FinishedEvent>(&event)) {
    end_of_batch(now);
    end(number, name_of(finished->reason), now);
  } else if (std::holds_alternative<engine::FailedEvent>(event)) {
    end(number, "error", now);
  }
}

void RequestMeter::end_of_batch(Moment now) {
  std::ranges::sort(fresh_);
  const auto repeated = std::unique(fresh_.begin(), fresh_.end());
  fresh_.erase(repeated, fresh_.end());
  for (const size_t number : fresh_) {
    Run& run = runs_[number];
    if (is_set(run.first_token)) {
      metrics_->observe(Measure::kInterTokenLatency, seconds_between(run.last_token, now));
    } else {
      run.first_token = now;
      metrics_->observe(Measure::kTimeToFirstToken, seconds_between(received_, now));
    }
    run.last_token = now;
  }
  fresh_.clear();
}

void RequestMeter::end(size_t number, std::string_view reason, Moment now) {
  if (number >= runs_.size() || !runs_[number].finish_reason.empty()) return;
  Run& run = runs_[number];
  run.finish_reason = reason;
  run.ended = now;
  metrics_->count_end(reason);
  metrics_->observe(Measure::kLatency, seconds_between(received_, now));
  metrics_->observe(Measure::kPromptTokens, static_cast<double>(run.prompt_tokens));
  metrics_->observe(Measure::kGenerationTokens, static_cast<double>(run.tokens));
  if (!is_set(run.first_token)) return;
  const double decode = seconds_between(run.first_token, run.last_token);
  metrics_->observe(Measure::kPrefillTime, seconds_between(run.started, run.first_token));
  metrics_->observe(Measure::kDecodeTime, decode);
  if (run.tokens > 1)
    metrics_->observe(Measure::kTimePerOutputToken, decode / static_cast<double>(run.tokens - 1));
}

int64_t RequestMeter::prompt_tokens() const {
  int64_t sum = 0;
  for (size_t i = 0; i < runs_.size(); i += num_choices_) sum += runs_[i].prompt_tokens;
  return sum;
}

int64_t RequestMeter::cached_tokens() const {
  int64_t sum = 0;
  for (size_t i = 0; i < runs_.size(); i += num_choices_) sum += runs_[i].cached_tokens;
  return sum;
}

int64_t RequestMeter::completion_tokens() const {
  int64_t sum = 0;
  for (const Run& run : runs_) sum += run.tokens;
  return sum;
}

double RequestMeter::queue_seconds() const {
  double least = -1.0;
  for (const Run& run : runs_) {
    const double time = is_set(run.started) ? seconds_between(run.submitted, run.started) : -1.0;
    if (time >= 0.0 && (least < 0.0 || time < least)) least = time;
  }
  return least;
}

double RequestMeter::first_token_seconds() const {
  double least = -1.0;
  for (const Run& run : runs_) {
    const double time = is_set(run.first_token) ? seconds_between(received_, run.first_token) : -1.0;
    if (time >= 0.0 && (least < 0.0 || time < least)) least = time;
  }
  return least;
}

}  // namespace hadal::serve
