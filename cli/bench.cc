// hadal bench: tokens per second of a checkpoint, or of random weights, beside what the machine allows.
#include "hadal/engine/bench.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/common.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "hadal/model/synthetic.h"

namespace hadal::cli {
namespace {

constexpr const char* kBenchFooter =
    R"(Earlier tokens of a run with a depth are made up, not computed. A run ends early when its time is over; min, median and max
are over its repeats. With --json, one object:
  machine  {cpu, threads, isa, read_gb_s, tflop_s: {f32, bf16, int8}}: the limits are measured first
  runs     a list of {phase, model, format, kv_cache, prompt, depth, batch, gen, threads, repeats, tokens, tok_s: {min, median,
           max}, predicted_tok_s, percent_of_limit, gb_s, tflop_s, bytes_per_token, flops_per_token, seconds: {<part>: s}}
predicted_tok_s is what the limits allow; gb_s and tflop_s are what the median repeat reached, by arithmetic over the
model's shapes; tokens and seconds are the median repeat's: fewer than gen * batch when its time was over.)";

struct BenchOptions {
  RunOptions run;
  std::string synthetic, format = "bf16", profile;
  std::vector<int64_t> prompt = {128}, depth = {0}, batch = {1};
  int64_t gen = 32, repeat = 3;
  double seconds = 10;
  bool json = false, markdown = false;
};

/// What is measured, and its names in the report.
struct Subject {
  LoadedModel loaded;
  std::string name, format;
};

// The format that most of what is read has: that of the experts, or of the MLP.
std::string format_of(const model::Model& model) {
  const model::LayerWeights& layer = model.weights.layers.back();
  const Weight& map = layer.moe.gate_proj.empty() ? layer.mlp.gate_proj : layer.moe.gate_proj.front();
  switch (map.format) {
    case Format::kF32:
      return "f32";
    case Format::kBF16:
      return "bf16";
    case Format::kF16:
      return "f16";
    case Format::kF8E4M3:
      return "fp8";
    case Format::kI8:
      return "int8";
    case Format::kI4:
      return "int4";
  }
  return "";
}

Subject make_subject(const BenchOptions& options) {
  Subject subject;
  if (options.synthetic.empty()) {
    subject.loaded = load(options.run);
    subject.name = subject.loaded.folder;
    subject.format = format_of(subject.loaded.model);
    return subject;
  }
  const model::ModelConfig config = model::synthetic_config(options.synthetic);
  LoadedModel& loaded = subject.loaded;
  loaded.pool = make_pool(options.run.threads);
  loaded.model = model::synthetic_model(config, model::parse_weight_scheme(options.format), *loaded.pool);
  loaded.precision = precision_for(options.run, loaded.model);
  subject.name = "synthetic " + options.synthetic;
  subject.format = options.format;
  return subject;
}

// Tokens of cache for the largest of the runs.
int64_t cache_tokens(const BenchOptions& o) {
  using engine::Bench;
  const int64_t prompt = o.prompt.empty() ? 0 : *std::ranges::max_element(o.prompt);
  const int64_t depth = o.depth.empty() ? 0 : *std::ranges::max_element(o.depth);
  const int64_t batch = o.batch.empty() ? 0 : *std::ranges::max_element(o.batch);
  return std::max(Bench::paged(prompt), o.gen > 0 ? batch * Bench::paged(depth + o.gen) : 0);
}

void check_lengths(const BenchOptions& o, const model::ModelConfig& config) {
  const int64_t longest = config.max_position_embeddings;
  for (const int64_t prompt : o.prompt) {
    if (prompt <= longest) continue;
    fail(ErrorKind::kUsage, "--prompt\n  expected  at most max_position_embeddings = {}\n  found     {}",
         longest, prompt);
  }
  for (const int64_t depth : o.depth) {
    if (depth + o.gen <= longest) continue;
    fail(ErrorKind::kUsage, "--depth\n  expected  at most max_position_embeddings - gen = {}\n  found     {}",
         longest - o.gen, depth);
  }
}

/// Runs `measure` until there are enough repeats or the time is over.
template <class Measure>
void repeat(const BenchOptions& options, BenchRun& run, const Measure& measure) {
  double spent = 0;
  for (int64_t i = 0; i < options.repeat && (i == 0 || spent < options.seconds); ++i) {
    run.repeats.push_back(measure());
    spent += run.repeats.back().seconds;
  }
}

void measure_all(const BenchOptions& o, engine::Bench& bench, const std::function<void(BenchRun)>& done) {
  const bool events = !o.profile.empty();
  for (const int64_t prompt : o.prompt) {
    if (prompt == 0) continue;
    BenchRun run{.phase = "prefill", .prompt = prompt, .batch = 1};
    bench.prefill(std::min<int64_t>(prompt, 16));  // scratch memory, code pages
    repeat(o, run, [&] { return bench.prefill(prompt, events); });
    done(std::move(run));
  }
  for (const int64_t depth : o.depth) {
    for (const int64_t batch : o.batch) {
      if (o.gen == 0) continue;
      BenchRun run{.phase = "decode", .depth = depth, .batch = batch, .gen = o.gen};
      bench.decode(batch, depth, 1, 0);
      repeat(o, run, [&] { return bench.decode(batch, depth, o.gen, o.seconds, events); });
      done(std::move(run));
    }
  }
}

void bench(const BenchOptions& options) {
  const Subject subject = make_subject(options);
  check_lengths(options, subject.loaded.model.config);
  ThreadPool& pool = *subject.loaded.pool;
  BenchReport report{.machine = measure_machine(pool),
                     .model = subject.name,
                     .format = subject.format,
                     .kv_cache = std::string(kv_cache_name(subject.loaded.precision.cache_format()))};
  engine::Bench bench(subject.loaded.model, pool, subject.loaded.precision, cache_tokens(options),
                      report.machine.limits);
  const bool live = !options.json && !options.markdown;
  if (live) write_stdout(heading_text(report));
  measure_all(options, bench, [&](BenchRun run) {
    report.runs.push_back(std::move(run));
    if (live) write_stdout(run_text(report.runs.back()));
  });
  if (options.json) write_stdout(to_json(report).dump(2) + "\n");
  if (options.markdown) write_stdout(to_markdown(report));
  if (!options.profile.empty()) write_trace(options.profile, report);
}

}  // namespace

void add_bench(CLI::App& app) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* cmd = app.add_subcommand("bench", "Tokens per second, beside what this machine allows");
  add_run_options(*cmd, options->run);
  auto* synthetic = cmd->add_option("--synthetic", options->synthetic,
                                    "Random weights of a real shape instead: v2-lite, v3-layers=N or tiny");
  for (const char* of_files : {"--model", "--mlock", "--no-mmap"})
    synthetic->excludes(cmd->get_option(of_files));
  cmd->add_option("--format", options->format, "Of synthetic weights")
      ->check(CLI::IsMember({"bf16", "fp8", "int8", "int4"}))
      ->capture_default_str()
      ->needs(synthetic);
  const auto list = [&](const char* name, std::vector<int64_t>& values, double lowest, const char* text) {
    cmd->add_option(name, values, text)
        ->delimiter(',')
        ->check(number_from(lowest, kMostTokens))
        ->capture_default_str();
  };
  list("--prompt", options->prompt, 0, "Lengths of prompts to read, one by one; 0: none");
  list("--depth", options->depth, 0, "Tokens that a sequence has before it generates");
  list("--batch", options->batch, 1, "Sequences that generate together");
  cmd->add_option("--gen", options->gen, "Tokens that each sequence generates; 0: none")
      ->check(number_from(0, kMostTokens))
      ->capture_default_str();
  cmd->add_option("--repeat", options->repeat, "Times that a run is repeated")
      ->check(number_from(1, 1000))
      ->capture_default_str();
  cmd->add_option("--seconds", options->seconds, "Start no repeat, and generate no further, after so long")
      ->check(number_above(0, 86400))
      ->capture_default_str();
  auto* json = cmd->add_flag("--json", options->json, "Print one JSON object");
  cmd->add_flag("--markdown", options->markdown, "Print a Markdown table")->excludes(json);
  cmd->add_option("--profile", options->profile,
                  "Write where the time went as a Chrome trace (chrome://tracing, Perfetto)");
  cmd->footer(kBenchFooter);
  add_bench_serve(*cmd);
  cmd->callback([options, cmd] {
    if (cmd->get_subcommands().empty()) bench(*options);
  });
}

}  // namespace hadal::cli
