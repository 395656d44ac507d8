#include "cli/bench_report.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include <fmt/format.h>

namespace hadal::cli {
namespace {

using engine::Timing;

constexpr double kGiga = 1e9, kTera = 1e12;

double tokens_per_second(const Timing& timing) {
  return static_cast<double>(timing.tokens) / timing.seconds;
}

// A run's repeats in short: speeds from the slowest to the fastest, and the repeat in the middle.
struct Summary {
  double min = 0, median = 0, max = 0;
  const Timing* middle = nullptr;
  double predicted = 0;  // tokens per second at the machine's limits
  double bytes = 0, operations = 0;
};

Summary summarize(const BenchRun& run) {
  std::vector<const Timing*> sorted;
  for (const Timing& timing : run.repeats) sorted.push_back(&timing);
  std::ranges::sort(sorted, {}, [](const Timing* t) { return tokens_per_second(*t); });
  Summary s;
  s.middle = sorted[(sorted.size() - 1) / 2];
  s.min = tokens_per_second(*sorted.front());
  s.median = tokens_per_second(*s.middle);
  s.max = tokens_per_second(*sorted.back());
  s.predicted = static_cast<double>(s.middle->tokens) / s.middle->least_seconds;
  const model::Work work = model::total(s.middle->work);
  s.bytes = work.bytes;
  s.operations = work.total_operations();
  return s;
}

json to_json(const BenchReport& report, const BenchRun& run) {
  const Summary s = summarize(run);
  const auto tokens = static_cast<double>(s.middle->tokens);
  json seconds = json::object();
  for (size_t i = 0; i < kNumPhases; ++i)
    seconds[std::string(to_string(static_cast<Phase>(i)))] = rounded(s.middle->phases[i]);
  return {{"phase", run.phase},
          {"model", report.model},
          {"format", report.format},
          {"kv_cache", report.kv_cache},
          {"prompt", run.prompt},
          {"depth", run.depth},
          {"batch", run.batch},
          {"gen", run.gen},
          {"threads", report.machine.threads},
          {"repeats", run.repeats.size()},
          {"tokens", s.middle->tokens},
          {"tok_s", {{"min", rounded(s.min)}, {"median", rounded(s.median)}, {"max", rounded(s.max)}}},
          {"predicted_tok_s", rounded(s.predicted)},
          {"percent_of_limit", rounded(100 * s.median / s.predicted)},
          {"gb_s", rounded(s.bytes / s.middle->seconds / kGiga)},
          {"tflop_s", rounded(s.operations / s.middle->seconds / kTera)},
          {"bytes_per_token", rounded(s.bytes / tokens)},
          {"flops_per_token", rounded(s.operations / tokens)},
          {"seconds", std::move(seconds)}};
}

// "experts 61 %, dense 20 %, ...", largest first.
std::string parts_text(const Timing& timing) {
  std::vector<size_t> order(kNumPhases);
  for (size_t i = 0; i < kNumPhases; ++i) order[i] = i;
  std::ranges::stable_sort(order, std::greater<>(), [&](size_t i) { return timing.phases[i]; });
  std::string text;
  for (const size_t i : order) {
    const double percent = 100 * timing.phases[i] / timing.seconds;
    if (percent < 0.5) continue;
    text += fmt::format("{}{} {:.0f} %", text.empty() ? "" : ", ", to_string(static_cast<Phase>(i)), percent);
  }
  return text;
}

}  // namespace

std::string heading_text(const BenchReport& report) {
  return fmt::format("{}\n{}, {}, KV cache in {}\n{:<8}{:>8}{:>8}{:>6}{:>32}{:>12}{:>8}{:>10}{:>9}  {}\n",
                     to_text(report.machine), report.model, report.format, report.kv_cache, "phase", "prompt",
                     "depth", "batch", "tok/s (min - max)", "limit", "%", "GB/s", "TFLOP/s", "time");
}

std::string run_text(const BenchRun& run) {
  const Summary s = summarize(run);
  return fmt::format("{:<8}{:>8}{:>8}{:>6}{:>32}{:>12.4g}{:>8.1f}{:>10.4g}{:>9.3g}  {}\n", run.phase,
                     run.prompt, run.depth, run.batch,
                     fmt::format("{:.4g} ({:.4g} - {:.4g})", s.median, s.min, s.max), s.predicted,
                     100 * s.median / s.predicted, s.bytes / s.middle->seconds / kGiga,
                     s.operations / s.middle->seconds / kTera, parts_text(*s.middle));
}

json to_json(const BenchReport& report) {
  json runs = json::array();
  for (const BenchRun& run : report.runs) runs.push_back(to_json(report, run));
  return {{"machine", to_json(report.machine)}, {"runs", std::move(runs)}};
}

std::string to_markdown(const BenchReport& report) {
  std::string text = fmt::format(
      "{}; {}, {}, KV cache in {}\n\n"
      "| phase | prompt | depth | batch | tok/s | min – max | limit | % of limit | GB/s | TFLOP/s | time |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|\n",
      to_text(report.machine), report.model, report.format, report.kv_cache);
  for (const BenchRun& run : report.runs) {
    const Summary s = summarize(run);
    text += fmt::format(
        "| {} | {} | {} | {} | {:.4g} | {:.4g} – {:.4g} | {:.4g} | {:.1f} | {:.4g} | {:.3g} | {} |\n",
        run.phase, run.prompt, run.depth, run.batch, s.median, s.min, s.max, s.predicted,
        100 * s.median / s.predicted, s.bytes / s.middle->seconds / kGiga,
        s.operations / s.middle->seconds / kTera, parts_text(*s.middle));
  }
  return text;
}

void write_trace(const std::string& path, const BenchReport& report) {
  json trace = json::array();
  const auto microseconds = [](auto duration) {
    return std::chrono::duration<double, std::micro>(duration).count();
  };
  PhaseRecorder::Clock::time_point first = PhaseRecorder::Clock::time_point::max();
  for (const BenchRun& run : report.runs) {
    for (const Timing& timing : run.repeats) {
      for (const auto& event : timing.events) first = std::min(first, event.begin);
    }
  }
  for (size_t r = 0; r < report.runs.size(); ++r) {
    for (const Timing& timing : report.runs[r].repeats) {
      for (const auto& event : timing.events) {
        trace.push_back({{"name", to_string(event.phase)},
                         {"cat", report.runs[r].phase},
                         {"ph", "X"},
                         {"ts", microseconds(event.begin - first)},
                         {"dur", microseconds(event.end - event.begin)},
                         {"pid", 1},
                         {"tid", r + 1}});
      }
    }
  }
  std::ofstream file(path, std::ios::binary);
  file << trace.dump() << '\n';
  if (!file.flush()) fail(ErrorKind::kIo, "{}\n  cannot be written: {}", path, std::strerror(errno));
}

}  // namespace hadal::cli
