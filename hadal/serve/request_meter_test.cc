#include "hadal/serve/request_meter.h"

#include <string>

#include <gtest/gtest.h>

namespace hadal::serve {
namespace {

using std::chrono::milliseconds;

class RequestMeterTest : public ::testing::Test {
 protected:
  static RequestMeter::Moment at(int64_t ms) {
    return RequestMeter::Moment(std::chrono::hours(1) + milliseconds(ms));
  }
  void start(size_t number, int64_t ms, int64_t cached) {
    meter.see(number, engine::StartedEvent{1, cached}, at(ms));
  }
  void tokens(size_t number, int64_t ms, int count) {
    for (int i = 0; i < count; ++i) meter.see(number, engine::TokenEvent{1, {}}, at(ms));
    meter.end_of_batch(at(ms));
  }
  void finish(size_t number, int64_t ms, engine::FinishReason reason) {
    meter.see(number, engine::FinishedEvent{1, reason}, at(ms));
    meter.end_of_batch(at(ms));
  }
  // The value of one line of /metrics, by what stands before it.
  double value(const std::string& name, const std::string& labels = "") const {
    const std::string text = metrics.text(nullptr);
    const std::string line = "\n" + name + "{model_name=\"m\"" + labels + "} ";
    const size_t found = text.find(line);
    EXPECT_NE(found, std::string::npos) << line << text;
    return found == std::string::npos ? -1.0 : std::stod(text.substr(found + line.size()));
  }

  Metrics metrics{"m"};
  RequestMeter meter{at(0)};
};

TEST_F(RequestMeterTest, TimesOfOneAnswer) {
  meter.begin(metrics, 1);
  meter.submit(0, 12, at(10));
  start(0, 30, 5);
  tokens(0, 100, 1);
  tokens(0, 150, 2);  // of one step, with a draft
  tokens(0, 180, 1);
  finish(0, 180, engine::FinishReason::kLength);
  EXPECT_NEAR(value("hadal:request_queue_time_seconds_sum"), 0.020, 1e-9);
  EXPECT_NEAR(value("hadal:time_to_first_token_seconds_sum"), 0.100, 1e-9);
  EXPECT_EQ(value("hadal:inter_token_latency_seconds_count"), 2);
  EXPECT_NEAR(value("hadal:inter_token_latency_seconds_sum"), 0.080, 1e-9);
  EXPECT_NEAR(value("hadal:time_per_output_token_seconds_sum"), 0.080, 1e-9);
  EXPECT_NEAR(value("hadal:request_time_per_output_token_seconds_sum"), 0.080 / 3, 1e-9);
  EXPECT_NEAR(value("hadal:request_prefill_time_seconds_sum"), 0.070, 1e-9);
  EXPECT_NEAR(value("hadal:request_decode_time_seconds_sum"), 0.080, 1e-9);
  EXPECT_NEAR(value("hadal:e2e_request_latency_seconds_sum"), 0.180, 1e-9);
  EXPECT_EQ(value("hadal:request_prompt_tokens_sum"), 12);
  EXPECT_EQ(value("hadal:request_generation_tokens_sum"), 4);
  EXPECT_EQ(value("hadal:request_success_total", ",finished_reason=\"length\""), 1);
  EXPECT_EQ(meter.cached_tokens(), 5);
  EXPECT_NEAR(meter.queue_seconds(), 0.020, 1e-9);
  EXPECT_NEAR(meter.first_token_seconds(), 0.100, 1e-9);
}

TEST_F(RequestMeterTest, APreemptedRequestWaitsOnce) {
  meter.begin(metrics, 1);
  meter.submit(0, 3, at(0));
  start(0, 10, 0);
  start(0, 90, 2);
  EXPECT_EQ(value("hadal:request_queue_time_seconds_count"), 1);
  EXPECT_EQ(meter.cached_tokens(), 0);
}

TEST_F(RequestMeterTest, TheFirstEndCounts) {
  meter.begin(metrics, 1);
  meter.submit(0, 3, at(0));
  tokens(0, 10, 1);
  meter.end(0, "stop", at(10));  // a stop string; the engine says cancelled, later
  finish(0, 20, engine::FinishReason::kCancelled);
  meter.end(0, "abort", at(30));
  EXPECT_EQ(value("hadal:request_success_total", ",finished_reason=\"stop\""), 1);
  EXPECT_EQ(value("hadal:request_success_total", ",finished_reason=\"abort\""), 0);
  EXPECT_EQ(meter.runs()[0].finish_reason, "stop");
}

TEST_F(RequestMeterTest, APromptCountsOnceForItsChoices) {
  meter.begin(metrics, 2);
  for (size_t i = 0; i < 4; ++i) meter.submit(i, i < 2 ? 10 : 7, at(0));
  for (size_t i = 0; i < 4; ++i) {
    start(i, 5, 4);
    tokens(i, 10, 1);
    finish(i, 10, engine::FinishReason::kStop);
  }
  EXPECT_EQ(meter.prompt_tokens(), 17);
  EXPECT_EQ(meter.cached_tokens(), 8);
  EXPECT_EQ(meter.completion_tokens(), 4);
}

TEST_F(RequestMeterTest, WhatNeverBegan) {
  EXPECT_LT(meter.queue_seconds(), 0.0);
  EXPECT_LT(meter.first_token_seconds(), 0.0);
  EXPECT_EQ(meter.prompt_tokens(), 0);
  meter.end(0, "abort", at(1));  // no run: nothing to end
  meter.begin(metrics, 1);
  meter.submit(0, 3, at(0));
  meter.see(0, engine::FailedEvent{1, ErrorKind::kInternal, "text"}, at(5));
  EXPECT_EQ(value("hadal:request_success_total", ",finished_reason=\"error\""), 1);
  EXPECT_EQ(value("hadal:time_to_first_token_seconds_count"), 0);
}

TEST_F(RequestMeterTest, TheEnginesNumbersAreThereWithAnEngine) {
  const engine::EngineStats stats{
      .running = 3, .pages_total = 8, .pages_used = 2, .prompt_tokens = 70, .prefix_hit_tokens = 30};
  EXPECT_EQ(metrics.text(nullptr).find("hadal:num_requests_running"), std::string::npos);
  const std::string text = metrics.text(&stats);
  EXPECT_NE(
      text.find("# TYPE hadal:num_requests_running gauge\nhadal:num_requests_running{model_name=\"m\"} 3\n"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("hadal:kv_cache_usage_perc{model_name=\"m\"} 0.25\n"), std::string::npos);
  EXPECT_NE(
      text.find(
          "# TYPE hadal:prompt_tokens_total counter\nhadal:prompt_tokens_total{model_name=\"m\"} 100\n"),
      std::string::npos);
}

}  // namespace
}  // namespace hadal::serve
