// What people paste from the documentation of other servers.
#include "cli/pasted_flags.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace hadal::cli {
namespace {

using Names = std::pair<std::string_view, std::string_view>;

constexpr std::array kLongNames{
    Names{"-amb", "--attention-max-batch"},
    Names{"-cb", "--cont-batching"},
    Names{"-ctk", "--cache-type-k"},
    Names{"-ctv", "--cache-type-v"},
    Names{"-dp", "--dp"},
    Names{"-fa", "--flash-attn"},
    Names{"-fmoe", "--fused-moe"},
    Names{"-mla", "--mla-use"},
    Names{"-ngl", "--n-gpu-layers"},
    Names{"-np", "--parallel"},
    Names{"-pp", "--pp-size"},
    Names{"-tb", "--threads-batch"},
    Names{"-tp", "--tp"},
    Names{"-ub", "--ubatch-size"},
};

constexpr std::array kIgnoredSwitches{"--trust-remote-code",
                                      "--enable-dp-attention",
                                      "--enable-torch-compile",
                                      "--enforce-eager",
                                      "--enable-auto-tool-choice",
                                      "--enable-metrics",
                                      "--disable-log-stats",
                                      "--disable-log-requests",
                                      "--enable-chunked-prefill",
                                      "--cont-batching",
                                      "--disable-cuda-graph",
                                      "--fused-moe",
                                      "--jinja"};

constexpr std::array kIgnoredOptions{"--tp,--tp-size,--tensor-parallel-size",
                                     "--dp,--dp-size,--data-parallel-size",
                                     "--pp-size,--pipeline-parallel-size",
                                     "--nnodes",
                                     "--node-rank",
                                     "--dist-init-addr",
                                     "-q,--quantization",
                                     "--torch-compile-max-bs",
                                     "--tool-call-parser",
                                     "--reasoning-parser",
                                     "--device",
                                     "--speculative-num-steps",
                                     "--speculative-eagle-topk",
                                     "--attention-backend",
                                     "--attention-max-batch",
                                     "--block-size,--page-size",
                                     "--swap-space",
                                     "--log-level",
                                     "--cache-type-v",
                                     "--mla-use",
                                     "--n-gpu-layers,--gpu-layers",
                                     "--threads-batch",
                                     "--ubatch-size"};

}  // namespace

std::vector<std::string> with_long_names(std::vector<std::string> words) {
  for (std::string& word : words) {
    const auto* found = std::ranges::find(kLongNames, word, &Names::first);
    if (found != kLongNames.end()) word = found->second;
  }
  return words;
}

// There is one machine and no Python, code of a checkpoint never runs, and formats of calls and thoughts are found in the template.
void add_ignored_flags(CLI::App& cmd, std::vector<std::string>& ignored) {
  for (const char* name : kIgnoredSwitches)
    cmd.add_flag_callback(name, [&ignored, name] { ignored.emplace_back(name); })->group("");
  const auto take = [&ignored](const std::string& names) {
    const size_t first = names.find("--");
    const std::string name = names.substr(first, names.find(',', first) - first);
    return [&ignored, name](const std::string& value) {
      ignored.push_back(name + (value.empty() ? "" : " " + value));
    };
  };
  for (const char* names : kIgnoredOptions)
    cmd.add_option_function<std::string>(names, take(names))->group("");
  cmd.add_option_function<std::string>("--flash-attn", take("--flash-attn"))->expected(0, 1)->group("");
}

}  // namespace hadal::cli
