#include "hadal/serve/metrics.h"

#include <array>
#include <sstream>
#include <vector>

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace hadal::serve {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;
using Buckets = prometheus::Histogram::BucketBoundaries;

// 1, 2, 5 of each power of ten: a quantile is right within a factor of 2.5 at worst, from a token of a tiny model to a prompt of
// an hour.
Buckets seconds() {
  return {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2,  0.5,  1,   2,
          5,     10,    20,    50,   100,  200,  500, 1000, 2000, 5000};
}
Buckets tokens() {
  return {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};
}

struct HistogramRow {
  Measure measure;
  const char *name, *help;
  Buckets (*buckets)();
};

const HistogramRow kHistograms[] = {
    {Measure::kTimeToFirstToken, "hadal:time_to_first_token_seconds",
     "From a request's arrival to its first token.", seconds},
    {Measure::kInterTokenLatency, "hadal:inter_token_latency_seconds",
     "Between an answer's tokens; tokens of one step count once.", seconds},
    {Measure::kTimePerOutputToken, "hadal:request_time_per_output_token_seconds",
     "An answer's time after its first token, by its other tokens.", seconds},
    {Measure::kLatency, "hadal:e2e_request_latency_seconds", "From a request's arrival to its answer's end.",
     seconds},
    {Measure::kQueueTime, "hadal:request_queue_time_seconds", "Until the request began to run.", seconds},
    {Measure::kPrefillTime, "hadal:request_prefill_time_seconds",
     "From the beginning of the run to the first token.", seconds},
    {Measure::kDecodeTime, "hadal:request_decode_time_seconds", "From the first token to the last.", seconds},
    {Measure::kPromptTokens, "hadal:request_prompt_tokens", "Tokens of a prompt.", tokens},
    {Measure::kGenerationTokens, "hadal:request_generation_tokens", "Tokens of an answer.", tokens},
};

struct EngineRow {
  const char *name, *help;
  MetricType type;
  double (*value)(const engine::EngineStats&);
};

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
}

#define HADAL_COUNT(expression) \
  [](const engine::EngineStats& s) -> double { return static_cast<double>(expression); }

const EngineRow kEngineRows[] = {
    {"hadal:num_requests_running", "Requests in the engine's steps.", MetricType::Gauge,
     HADAL_COUNT(s.running)},
    {"hadal:num_requests_waiting", "Requests that wait for a place.", MetricType::Gauge,
     HADAL_COUNT(s.waiting)},
    {"hadal:kv_cache_usage_perc", "Share of the cache that is in use; 1 is all of it.", MetricType::Gauge,
     [](const engine::EngineStats& s) { return share(s.pages_used, s.pages_total); }},
    {"hadal:prefix_cache_queries_total", "Tokens of prompts that were looked for in the cache.",
     MetricType::Counter, HADAL_COUNT(s.prefix_query_tokens)},
    {"hadal:prefix_cache_hits_total", "Tokens of prompts that were found in the cache.", MetricType::Counter,
     HADAL_COUNT(s.prefix_hit_tokens)},
    {"hadal:prompt_tokens_total", "Tokens of prompts that were computed or found in the cache.",
     MetricType::Counter, HADAL_COUNT(s.prompt_tokens + s.prefix_hit_tokens)},
    {"hadal:generation_tokens_total", "Tokens generated.", MetricType::Counter,
     HADAL_COUNT(s.generated_tokens)},
    {"hadal:num_preemptions_total", "Times that a running request had to wait again.", MetricType::Counter,
     HADAL_COUNT(s.preemptions)},
    {"hadal:engine_steps_total", "Forward passes.", MetricType::Counter, HADAL_COUNT(s.steps)},
    {"hadal:spec_decode_num_draft_tokens_total", "Tokens that were guessed.", MetricType::Counter,
     HADAL_COUNT(s.drafted_tokens)},
    {"hadal:spec_decode_num_accepted_tokens_total", "Guesses that were right.", MetricType::Counter,
     HADAL_COUNT(s.accepted_tokens)},
};

#undef HADAL_COUNT

MetricFamily family_of(const EngineRow& row, const engine::EngineStats& stats, const std::string& model) {
  MetricFamily family{row.name, row.help, row.type, {}};
  prometheus::ClientMetric metric;
  metric.label = {{"model_name", model}};
  (row.type == MetricType::Gauge ? metric.gauge.value : metric.counter.value) = row.value(stats);
  family.metric.push_back(metric);
  return family;
}

}  // namespace

struct Metrics::State {
  explicit State(const std::string& model_name);

  std::string model;
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>&ends, &http;
  std::array<prometheus::Histogram*, std::size(kHistograms)> histograms{};
};

Metrics::State::State(const std::string& model_name)
    : model(model_name),
      ends(prometheus::BuildCounter()
               .Name("hadal:request_success_total")
               .Help("Answers that have ended, by the reason: stop, length, abort (nobody waits), error.")
               .Labels({{"model_name", model}})
               .Register(registry)),
      http(prometheus::BuildCounter()
               .Name("hadal:http_requests_total")
               .Help("HTTP requests by route and status; 499: the client has gone.")
               .Labels({{"model_name", model}})
               .Register(registry)) {
  for (const char* reason : {"stop", "length", "abort", "error"}) ends.Add({{"finished_reason", reason}});
  for (const HistogramRow& row : kHistograms) {
    auto& family = prometheus::BuildHistogram().Name(row.name).Help(row.help).Register(registry);
    histograms[static_cast<size_t>(row.measure)] = &family.Add({{"model_name", model}}, row.buckets());
  }
}

Metrics::Metrics(const std::string& model_name) : state_(std::make_unique<State>(model_name)) {}
Metrics::~Metrics() = default;

void Metrics::observe(Measure measure, double value) {
  state_->histograms[static_cast<size_t>(measure)]->Observe(value);
}

void Metrics::count_end(std::string_view finish_reason) {
  state_->ends.Add({{"finished_reason", std::string(finish_reason)}}).Increment();
}

void Metrics::count_http(std::string_view route, int status) {
  state_->http.Add({{"route", std::string(route)}, {"status", std::to_string(status)}}).Increment();
}

std::string Metrics::text(const engine::EngineStats* stats) const {
  std::vector<MetricFamily> families = state_->registry.Collect();
  if (stats) {
    for (const EngineRow& row : kEngineRows) families.push_back(family_of(row, *stats, state_->model));
  }
  for (const MetricFamily& family : families) {
    if (family.name != "hadal:inter_token_latency_seconds") continue;
    MetricFamily older = family;  // dashboards made for older vLLM ask for this name
    older.name = "hadal:time_per_output_token_seconds";
    older.help = "The same as hadal:inter_token_latency_seconds, by its older name.";
    families.push_back(std::move(older));
    break;
  }
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

}  // namespace hadal::serve
