// hadal logits: what the model says to a given sequence of token ids, as tensors for other programs to compare.
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "hadal/engine/teacher_forcing.h"
#include "hadal/io/safetensors.h"

namespace hadal::cli {
namespace {

struct LogitsOptions {
  RunOptions run;
  std::string ids, out;
  engine::ForcingOptions forcing;
};

io::TensorEntry entry(std::string name, const Tensor<float, 2>& tensor) {
  const auto& values = tensor.values();
  return {std::move(name),
          io::DType::kF32,
          {tensor.shape()[0], tensor.shape()[1]},
          std::as_bytes(std::span(values))};
}

void logits(const LogitsOptions& options) {
  const std::vector<int32_t> ids = read_ids(options.ids);
  const LoadedModel loaded = load(options.run);
  const engine::ForcedOutputs out =
      engine::run_tokens(loaded.model, *loaded.pool, loaded.precision, ids, options.forcing);
  std::vector<io::TensorEntry> tensors{entry("logits", out.logits)};
  if (options.forcing.mtp) tensors.push_back(entry("mtp_logits", out.mtp_logits));
  if (options.forcing.keep_acts) {
    tensors.push_back(entry("hidden.embed", out.acts.embedded));
    for (const auto& [layer, hidden] : out.acts.hidden)
      tensors.push_back(entry(fmt::format("hidden.{}", layer), hidden));
    tensors.push_back(entry("hidden.final_norm", out.final_norm));
  }
  io::write_safetensors(options.out, tensors);
}

}  // namespace

void add_logits(CLI::App& app) {
  auto options = std::make_shared<LogitsOptions>();
  CLI::App* cmd =
      app.add_subcommand("logits", "Write the logits of a sequence of token ids to a safetensors file");
  add_run_options(*cmd, options->run);
  cmd->add_option("--ids", options->ids, "JSON file: a list of token ids")->required();
  cmd->add_option("--out", options->out, "The file to write: F32 logits [tokens, vocab_size]")->required();
  cmd->add_flag("--mtp", options->forcing.mtp,
                "Also mtp_logits [tokens - 1, vocab_size]: row i is about token i + 2");
  cmd->add_flag("--hidden-states", options->forcing.keep_acts,
                "Also hidden.embed, hidden.<layer> and hidden.final_norm [tokens, hidden_size]");
  auto* chunk =
      cmd->add_option("--chunk", options->forcing.chunk, "Tokens in one forward pass (default: all)")
          ->check(number_from(1, kMostTokens));
  cmd->add_flag("--decode", options->forcing.decode, "Token by token, through the absorbed form of attention")
      ->excludes(chunk);
  cmd->callback([options] { logits(*options); });
}

}  // namespace hadal::cli
