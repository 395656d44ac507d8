#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/common.h"
#include <CLI/CLI.hpp>

#include "hadal/serve/service.h"

namespace hadal::cli {

struct ServeFlags {
  RunOptions run;
  serve::ServeOptions serve;
  int64_t max_num_seqs = 64, max_model_len = 0, max_tokens_per_step = 2048, kv_cache_tokens = 0;
  int64_t num_speculative_tokens = 4;
  std::string speculation = "off", kv_cache_dir;
  double kv_cache_dir_gb = 10;
  bool prefix_caching = true, cache_answers = false;
  double memory_fraction = 0.8;
  int64_t keepalive = 30, drain_timeout = 30;
  std::string config;                // a TOML or JSON file with the same names
  std::vector<std::string> ignored;  // flags of other servers that mean nothing here, as they were given
};

/// The flags of `hadal serve`, under the names that vLLM and SGLang give them too; each can also be set by the environment, as
/// HADAL_ and its name in capitals.
void add_serve_flags(CLI::App& cmd, ServeFlags& flags);

/// Sets from the file what neither the command line nor the environment has set. Throws kUsage for names that are no flags, with
/// the file's name.
void read_config(CLI::App& cmd, const std::string& file);

}  // namespace hadal::cli
