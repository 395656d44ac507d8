#include "hadal/serve/load_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace hadal::serve {
namespace {

constexpr double kMilli = 1e3;

LoadReport::Times times_of(const char* name, const std::vector<double>& seconds) {
  LoadReport::Times times{name, 0.0, kMilli * quantile(seconds, 0.5), kMilli * quantile(seconds, 0.99)};
  if (!seconds.empty())
    times.mean =
        kMilli * std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(seconds.size());
  return times;
}

double per_second(int64_t count, double seconds) {
  return seconds > 0.0 ? static_cast<double>(count) / seconds : 0.0;
}

bool has_text(const json& choice) {
  if (choice.contains("text"))
    return choice["text"].is_string() && !choice["text"].get_ref<const std::string&>().empty();
  const auto delta = choice.find("delta");
  if (delta == choice.end() || !delta->is_object()) return false;
  for (const char* name : {"content", "reasoning_content", "reasoning"}) {
    const auto text = delta->find(name);
    if (text != delta->end() && text->is_string() && !text->get_ref<const std::string&>().empty())
      return true;
  }
  return delta->contains("tool_calls");
}

}  // namespace

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0.0;
  std::ranges::sort(values);
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(std::floor(at));
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - std::floor(at)) * (values[high] - values[low]);
}

LoadReport make_report(std::span<const LoadSample> samples, double duration_s) {
  LoadReport report;
  report.duration_s = duration_s;
  std::vector<double> first, per_token, gaps, total;
  for (const LoadSample& sample : samples) {
    if (!sample.ok) {
      ++report.failed;
      continue;
    }
    ++report.completed;
    report.input_tokens += sample.input_tokens;
    report.output_tokens += sample.output_tokens;
    first.push_back(sample.first_token_s);
    total.push_back(sample.total_s);
    gaps.insert(gaps.end(), sample.gaps_s.begin(), sample.gaps_s.end());
    if (sample.output_tokens > 1)
      per_token.push_back((sample.total_s - sample.first_token_s) /
                          static_cast<double>(sample.output_tokens - 1));
  }
  report.times = {times_of("ttft", first), times_of("tpot", per_token), times_of("itl", gaps),
                  times_of("e2el", total)};
  return report;
}

std::string to_table(const LoadReport& report) {
  constexpr const char* kNames[] = {"TTFT", "TPOT", "ITL", "E2EL"};
  constexpr const char* kTitles[] = {"Time to First Token", "Time per Output Token (excl. 1st token)",
                                     "Inter-token Latency", "End-to-end Latency"};
  std::string text = fmt::format("{:=^50}\n", " Serving Benchmark Result ");
  const auto count = [&](const char* name, int64_t value) {
    text += fmt::format("{:<40} {:<10}\n", name, value);
  };
  const auto number = [&](std::string_view name, double value) {
    text += fmt::format("{:<40} {:<10.2f}\n", name, value);
  };
  count("Successful requests:", report.completed);
  if (report.failed > 0) count("Failed requests:", report.failed);
  number("Benchmark duration (s):", report.duration_s);
  count("Total input tokens:", report.input_tokens);
  count("Total generated tokens:", report.output_tokens);
  number("Request throughput (req/s):", per_second(report.completed, report.duration_s));
  number("Output token throughput (tok/s):", per_second(report.output_tokens, report.duration_s));
  number("Total Token throughput (tok/s):",
         per_second(report.input_tokens + report.output_tokens, report.duration_s));
  for (size_t i = 0; i < report.times.size(); ++i) {
    const LoadReport::Times& times = report.times[i];
    text += fmt::format("{:-^50}\n", kTitles[i]);
    number(fmt::format("Mean {} (ms):", kNames[i]), times.mean);
    number(fmt::format("Median {} (ms):", kNames[i]), times.median);
    number(fmt::format("P99 {} (ms):", kNames[i]), times.p99);
  }
  return text + fmt::format("{:=^50}\n", "");
}

json to_json(const LoadReport& report) {
  json result{
      {"completed", report.completed},
      {"failed", report.failed},
      {"duration", report.duration_s},
      {"total_input_tokens", report.input_tokens},
      {"total_output_tokens", report.output_tokens},
      {"request_throughput", per_second(report.completed, report.duration_s)},
      {"output_throughput", per_second(report.output_tokens, report.duration_s)},
      {"total_token_throughput", per_second(report.input_tokens + report.output_tokens, report.duration_s)}};
  for (const LoadReport::Times& times : report.times) {
    result["mean_" + times.name + "_ms"] = times.mean;
    result["median_" + times.name + "_ms"] = times.median;
    result["p99_" + times.name + "_ms"] = times.p99;
  }
  return result;
}

LoadPiece read_piece(std::string_view event) {
  const json value = parse_json(event, "an event of the answer", ErrorKind::kRequest);
  if (!value.is_object())
    fail(ErrorKind::kRequest, "an event of the answer\n  expected  an object\n  found     {}",
         value.type_name());
  if (value.contains("error")) fail(ErrorKind::kRequest, "the server says {}", value["error"].dump());
  LoadPiece piece;
  const auto choices = value.find("choices");
  if (choices != value.end() && choices->is_array()) {
    for (const json& choice : *choices)
      piece.has_text = piece.has_text || (choice.is_object() && has_text(choice));
  }
  const auto usage = value.find("usage");
  if (usage == value.end() || !usage->is_object()) return piece;
  const auto count = [&](const char* name) {
    const auto found = usage->find(name);
    return found != usage->end() && found->is_number_integer() ? found->get<int64_t>() : -1;
  };
  piece.input_tokens = count("prompt_tokens");
  piece.output_tokens = count("completion_tokens");
  return piece;
}

}  // namespace hadal::serve
