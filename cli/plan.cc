// hadal plan: whether a model fits a machine and how fast it can be there at best, by arithmetic alone.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/machine.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "hadal/core/memory.h"
#include "hadal/engine/bench.h"
#include "hadal/model/cost.h"
#include "hadal/model/inspection.h"
#include "hadal/model/weight_scheme.h"

namespace hadal::cli {
namespace {

constexpr const char* kPlanFooter =
    R"(What is not described is this machine's: its memory is read, its speeds are measured. --flops is for BF16; 8-bit
integers count twice as fast, FP32 an eighth. Speeds are limits: `hadal bench` says how near hadal comes to them. With --json,
one object:
  model, format       the name as given; "files" where the weights there are counted as they are
  kv_cache            "bfloat16" or "fp8"
  machine             {cpu, threads, isa, read_gb_s, tflop_s: {f32, bf16, int8}}
  bytes               {weights, kv_per_token, memory}
  fits, kv_tokens     whether the weights fit the memory; tokens of KV cache that fit beside them
  runs                a list of {phase, prompt, depth, batch, tok_s, gb_per_token, gflop_per_token, fits})";

struct PlanOptions {
  std::string model, format, memory, bandwidth, flops, kv_cache_dtype = "auto";
  std::vector<int64_t> prompt = {512}, depth = {0, 8192}, batch = {1, 16};
  int threads = 0;
  bool as_json = false;
};

/// "768G", "1.5T", "64GiB": a number with a power of 1000, or of 1024 with an i.
double parse_amount(const std::string& flag, const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  std::string_view unit(end);
  double factor = 1;
  constexpr std::string_view kPrefixes = "KMGTP";
  const size_t power =
      unit.empty() ? std::string_view::npos : kPrefixes.find(static_cast<char>(unit[0] & ~0x20));
  if (power != std::string_view::npos) {
    unit.remove_prefix(1);
    const bool binary = unit.starts_with('i');
    if (binary) unit.remove_prefix(1);
    for (size_t i = 0; i <= power; ++i) factor *= binary ? 1024 : 1000;
  }
  if (unit.starts_with('B')) unit.remove_prefix(1);
  const double amount = number * factor;
  if (end == text.c_str() || !unit.empty() || !(amount > 0) || amount > 1e18) {
    fail(ErrorKind::kUsage, "{}\n  expected  a number such as 768G, 1.5T or 64GiB\n  found     {}", flag,
         text);
  }
  return amount;
}

Machine make_machine(const PlanOptions& o) {
  Machine machine;
  const bool described = !o.bandwidth.empty() && !o.flops.empty();
  if (!described) {
    ThreadPool pool(o.threads > 0 ? o.threads : usable_cpus());
    machine = measure_machine(pool);
  }
  if (!o.bandwidth.empty()) machine.limits.read_bytes_per_s = parse_amount("--bandwidth", o.bandwidth);
  if (!o.flops.empty()) {
    const double bf16 = parse_amount("--flops", o.flops);
    machine.limits.op_per_s = {bf16 / 8, bf16, 2 * bf16};
  }
  return machine;
}

/// One predicted speed.
struct Prediction {
  std::string phase;
  int64_t prompt = 0, depth = 0, batch = 1;
  model::StepWork work{};
  double seconds = 0, tokens = 0, cache_tokens = 0;
};

struct PlanReport {
  std::string model, format;
  Format cache = Format::kBF16;
  Machine machine;
  double memory = 0, weights = 0, kv_per_token = 0;
  std::vector<Prediction> runs;

  bool fits(double cache_tokens) const { return weights + cache_tokens * kv_per_token <= memory; }
  int64_t kv_tokens() const {
    return weights > memory ? 0 : static_cast<int64_t>((memory - weights) / kv_per_token);
  }
};

void add(Prediction& prediction, const model::StepWork& step, const MachineLimits& limits) {
  for (size_t i = 0; i < kNumPhases; ++i) prediction.work[i] += step[i];
  prediction.seconds += model::least_seconds(step, limits);
}

std::vector<Prediction> predict(const PlanOptions& o, const model::CostModel& cost,
                                const MachineLimits& limits) {
  std::vector<Prediction> all;
  constexpr int64_t kStep = engine::Bench::kTokensPerStep;
  for (const int64_t prompt : o.prompt) {
    Prediction p{.phase = "prefill", .prompt = prompt, .tokens = static_cast<double>(prompt)};
    p.cache_tokens = p.tokens;
    for (int64_t first = 0; first < prompt; first += kStep) {
      const int64_t count = std::min(kStep, prompt - first);
      add(p, cost.prefill(first, count, first + count == prompt), limits);
    }
    all.push_back(std::move(p));
  }
  for (const int64_t depth : o.depth) {
    for (const int64_t batch : o.batch) {
      Prediction p{.phase = "decode", .depth = depth, .batch = batch, .tokens = static_cast<double>(batch)};
      p.cache_tokens = p.tokens * static_cast<double>(depth + 1);
      add(p, cost.decode(batch, depth + 1), limits);
      all.push_back(std::move(p));
    }
  }
  return all;
}

// The weights' shapes and formats: as they are in the files, or as --format or config.json say.
model::Weights shapes_of(const PlanOptions& o, model::Inspection& found, std::string& format) {
  if (o.format.empty() && found.has_weights && found.problem.empty()) {
    model::Model bound = model::bind_model(found.folder);
    found.config = bound.config;
    format = "files";
    return std::move(bound.weights);
  }
  format = o.format.empty() ? std::string(to_string(model::scheme_of(found.config.quantization))) : o.format;
  return model::weight_shapes(found.config, model::parse_weight_scheme(format));
}

PlanReport make_report(const PlanOptions& o) {
  PlanReport report;
  const std::string path = std::filesystem::is_regular_file(o.model) ? o.model : model_folder(o.model);
  model::Inspection found = model::inspect(path);
  report.model = o.model;
  const model::Weights weights = shapes_of(o, found, report.format);
  report.cache = parse_kv_cache_dtype(o.kv_cache_dtype).value_or(Format::kBF16);
  const model::CostModel cost(found.config, weights, report.cache);
  report.machine = make_machine(o);
  report.memory =
      o.memory.empty() ? static_cast<double>(available_memory_bytes()) : parse_amount("--memory", o.memory);
  report.weights = model::weight_bytes(found.config, weights);
  report.kv_per_token = cost.cache_bytes_per_token();
  report.runs = predict(o, cost, report.machine.limits);
  return report;
}

json to_json(const PlanReport& report) {
  json runs = json::array();
  for (const Prediction& p : report.runs) {
    const model::Work work = model::total(p.work);
    runs.push_back({{"phase", p.phase},
                    {"prompt", p.prompt},
                    {"depth", p.depth},
                    {"batch", p.batch},
                    {"tok_s", rounded(p.tokens / p.seconds)},
                    {"gb_per_token", rounded(work.bytes / p.tokens / 1e9)},
                    {"gflop_per_token", rounded(work.total_operations() / p.tokens / 1e9)},
                    {"fits", report.fits(p.cache_tokens)}});
  }
  return {{"model", report.model},
          {"format", report.format},
          {"kv_cache", kv_cache_name(report.cache)},
          {"machine", to_json(report.machine)},
          {"bytes",
           {{"weights", static_cast<int64_t>(report.weights)},
            {"kv_per_token", static_cast<int64_t>(report.kv_per_token)},
            {"memory", static_cast<int64_t>(report.memory)}}},
          {"fits", report.fits(0)},
          {"kv_tokens", report.kv_tokens()},
          {"runs", std::move(runs)}};
}

std::string to_text(const PlanReport& report) {
  std::string text = fmt::format(
      "machine   {}\nweights   {} ({})\nmemory    {}: {}\nKV cache  {} for each token ({})\n\n"
      "{:<8}{:>8}{:>8}{:>6}{:>12}{:>14}{:>18}\n",
      to_text(report.machine), format_bytes(static_cast<int64_t>(report.weights)), report.format,
      format_bytes(static_cast<int64_t>(report.memory)),
      report.fits(0) ? fmt::format("they fit, with {} tokens of KV cache", report.kv_tokens())
                     : "they do not fit",
      format_bytes(static_cast<int64_t>(report.kv_per_token)), kv_cache_name(report.cache), "phase", "prompt",
      "depth", "batch", "tok/s", "GB / token", "GFLOP / token");
  for (const Prediction& p : report.runs) {
    const model::Work work = model::total(p.work);
    text += fmt::format("{:<8}{:>8}{:>8}{:>6}{:>12.4g}{:>14.4g}{:>18.4g}{}\n", p.phase, p.prompt, p.depth,
                        p.batch, p.tokens / p.seconds, work.bytes / p.tokens / 1e9,
                        work.total_operations() / p.tokens / 1e9,
                        report.fits(p.cache_tokens) ? "" : "  does not fit");
  }
  return text;
}

}  // namespace

void add_plan(CLI::App& app) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* cmd = app.add_subcommand("plan", "Say whether a model fits a machine, and its limits there");
  cmd->add_option("-m,--model", options->model,
                  "Folder of a Hugging Face checkpoint, org/name in the local Hugging Face cache, or a "
                  "config.json alone (default: the built-in model)");
  cmd->add_option("--format", options->format,
                  "Of the weights (default: as the files are, or as config.json says)")
      ->check(CLI::IsMember({"bf16", "fp8", "int8", "int4"}));
  add_kv_cache_option(*cmd, options->kv_cache_dtype);
  cmd->add_option("--memory", options->memory, "Of the machine, in bytes: 768G (default: what is available)");
  cmd->add_option("--bandwidth", options->bandwidth, "Of its memory, bytes a second: 460G");
  cmd->add_option("--flops", options->flops, "BF16 operations a second: 20T");
  const auto list = [&](const char* name, std::vector<int64_t>& values, double lowest, const char* text) {
    cmd->add_option(name, values, text)
        ->delimiter(',')
        ->check(number_from(lowest, kMostTokens))
        ->capture_default_str();
  };
  list("--prompt", options->prompt, 1, "Lengths of prompts");
  list("--depth", options->depth, 0, "Tokens that a sequence has");
  list("--batch", options->batch, 1, "Sequences that generate together");
  cmd->add_option("-t,--threads", options->threads, "Threads to measure with (default: all cores)")
      ->check(number_from(1, 4096));
  cmd->add_flag("--json", options->as_json, "Print JSON");
  cmd->footer(kPlanFooter);
  cmd->callback([options] {
    const PlanReport report = make_report(*options);
    write_stdout(options->as_json ? to_json(report).dump(2) + "\n" : to_text(report));
  });
}

}  // namespace hadal::cli
