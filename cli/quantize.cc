// hadal quantize: a checkpoint with smaller weights, made from one in BF16, F16, F32 or FP8.
#include "hadal/convert/quantize.h"

#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/fidelity.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "hadal/core/error.h"
#include "hadal/core/json.h"
#include "hadal/core/memory.h"

namespace hadal::cli {
namespace {

constexpr int64_t kMaxTextBytes = int64_t{64} << 20;
constexpr size_t kMostCalibrationPieces = 64;  // 32,768 tokens, whose hidden states take 0.9 GB on V3

struct QuantizeOptions {
  std::string in, out, format, calibrate, report;
  int64_t shard_mb = 4000;
  int threads = 0;
  convert::QuantizeOptions quantize;
};

constexpr const char* kQuantizeFooter = R"(What becomes of the weights:
  int4   routed experts, q_proj and q_b_proj INT4 in groups; what else every token uses, and heads, INT8
  int8   all of these INT8, a factor for each row
  fp8    all but the heads FP8 in blocks of 128 x 128, as DeepSeek's own releases
With --calibrate int4 and int8 are rounded so that the layers' outputs change least, instead of the weights:
several times the work, and of int4 about a third less loss. Embeddings, router, norms, biases and eh_proj stay
as they are. A run that was cut off goes on where it was when it is started again.)";

Format format_of(const std::string& name) {
  if (name == "int4") return Format::kI4;
  return name == "int8" ? Format::kI8 : Format::kF8E4M3;
}

void print_summary(const QuantizeOptions& options, const convert::QuantizeSummary& done) {
  fmt::print(stderr, "{}: {} files, {} of weights, from {}\n", options.out, done.files,
             format_bytes(done.bytes_out), format_bytes(done.bytes_in));
  if (done.files_kept > 0) fmt::print(stderr, "{} files were there already\n", done.files_kept);
  if (done.worst.empty()) return;
  fmt::print(stderr, "relative error {:.4f}, at most {:.4f} in {}\n", done.error.relative(), done.worst_error,
             done.worst);
}

void quantize(QuantizeOptions& options) {
  options.quantize.format = format_of(options.format);
  options.quantize.shard_bytes = options.shard_mb * 1'000'000;
  ThreadPool pool(options.threads > 0 ? options.threads : usable_cpus());
  const std::string in = model_folder(options.in);
  std::string text;  // read first: it would be a pity to find it absent in the end
  if (!options.report.empty()) text = read_text_file(options.report, kMaxTextBytes, ErrorKind::kRequest);
  std::vector<std::vector<int32_t>> pieces;
  if (!options.calibrate.empty()) {
    const std::string sample = read_text_file(options.calibrate, kMaxTextBytes, ErrorKind::kRequest);
    pieces = text_pieces(model::bind_model(in), sample);
    if (pieces.size() > kMostCalibrationPieces) pieces.resize(kMostCalibrationPieces);
    options.quantize.calibration = &pieces;
  }
  print_summary(options,
                convert::quantize(in, options.out, options.quantize, pool, show_progress("quantising")));
  if (!options.report.empty()) write_stdout(to_json(compare_models(in, options.out, text, pool)));
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto options = std::make_shared<QuantizeOptions>();
  CLI::App* cmd = app.add_subcommand("quantize", "Make a checkpoint with smaller weights");
  cmd->add_option("in", options->in, "Folder, or org/name in the local Hugging Face cache")->required();
  cmd->add_option("out", options->out, "Folder to make")->required();
  cmd->add_option("--format", options->format, "int4, int8 or fp8")
      ->required()
      ->check(CLI::IsMember({"int4", "int8", "fp8"}));
  CLI::Option* group =
      cmd->add_option("--group", options->quantize.group_size, "int4: columns that share a step")
          ->check(CLI::IsMember({32, 64, 128}))
          ->capture_default_str();
  repeatable(cmd->add_option("--keep", options->quantize.keep,
                             "Regular expression: tensors with a match in their name stay as they are"));
  cmd->add_option("--shard-size", options->shard_mb, "MB of weights in one file")
      ->check(number_from(1, 1'000'000))
      ->capture_default_str();
  CLI::Option* calibrate = cmd->add_option(
      "--calibrate", options->calibrate,
      "int4, int8: text file like what the model will be used for; its first 32,000 tokens are read");
  cmd->add_option("--report", options->report,
                  "Text file: then both models read it, and how they differ is printed as JSON");
  cmd->add_option("-t,--threads", options->threads, "Threads")->check(number_from(1, 4096));
  cmd->footer(kQuantizeFooter);
  cmd->callback([options, group, calibrate] {
    if (group->count() > 0 && options->format != "int4") {
      fail(ErrorKind::kUsage, "--group {}\n  expected  --format int4\n  found     {}",
           options->quantize.group_size, options->format);
    }
    if (calibrate->count() > 0 && options->format == "fp8") {
      fail(ErrorKind::kUsage, "--calibrate {}\n  expected  --format int4 or int8\n  found     fp8",
           options->calibrate);
    }
    quantize(*options);
  });
}

}  // namespace hadal::cli
