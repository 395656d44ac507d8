#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include "hadal/core/memory.h"
#include "hadal/core/thread_pool.h"
#include "hadal/core/weight.h"
#include "hadal/model/model.h"
#include "hadal/ops/context.h"

namespace hadal::cli {

/// The folder that --model means: a path, an org/name in the Hugging Face cache, or, for "", the built-in model.
std::string model_folder(const std::string& model);

/// Adds -m/--model, the same in every subcommand.
CLI::Option* add_model_option(CLI::App& cmd, std::string& model);

/// Checks an option's number: from low to high, both included.
CLI::Validator number_from(double low, double high);

/// Checks an option's number: more than low, at most high.
CLI::Validator number_above(double low, double high);

/// Lets a list's option be given many times, with one value each: "[a,b]" is one, which CLI11 takes for two.
CLI::Option* repeatable(CLI::Option* option);

constexpr double kMostTokens = 2147483647;  // token counts and positions are 32-bit

/// How many threads, and on which processors.
struct ThreadOptions {
  int threads = 0;       // 0: all cores this process may use
  std::string cpu_list;  // as taskset takes it
  std::string numa = "off";
};
void add_thread_options(CLI::App& cmd, ThreadOptions& options);

/// What they come to on this machine. Throws kUsage.
ThreadPlan thread_plan(const ThreadOptions& options);

/// The pool of the plan. The calling thread works in it, so it is pinned too: for a process's main thread, when no other thread
/// that should run elsewhere is going to be started from it.
std::unique_ptr<ThreadPool> make_pool(const ThreadOptions& options);

/// How a model is loaded and run: the same options in every subcommand that computes.
struct RunOptions {
  std::string model;
  ThreadOptions threads;
  bool mlock = false, no_mmap = false;
  std::string dtype = "auto";
  std::string activation_format = "auto";
  std::string kv_cache_dtype = "auto";
};
void add_run_options(CLI::App& cmd, RunOptions& options);

/// Adds --chat-template: what text::ChatTemplate::load takes in the folder's place.
void add_chat_template_option(CLI::App& cmd, std::string& given);

/// Adds --kv-cache-dtype, the same in every subcommand that has it.
void add_kv_cache_option(CLI::App& cmd, std::string& dtype);

/// What it names; none for auto.
std::optional<Format> parse_kv_cache_dtype(const std::string& dtype);
/// And the name that a report gives such a cache.
std::string_view kv_cache_name(Format format);

/// A model in memory with the threads that run it.
struct LoadedModel {
  std::string folder;
  std::unique_ptr<ThreadPool> pool;
  model::Model model;
  ops::Precision precision;
};

/// What --dtype, --kv-cache-dtype and --activation-format mean for this model. Throws kUsage for W8A8 without FP8 weights.
ops::Precision precision_for(const RunOptions& options, const model::Model& model);

/// What a command is going to need beside the weights, once it is known what model it is.
using NeedsOf = std::function<std::vector<MemoryNeed>(const model::ModelConfig&, const ops::Precision&)>;

/// "loading 312 MiB of 1.50 GiB, 20 s left" on stderr when that is a terminal, else nothing; verb: "loading".
model::LoadProgress show_progress(std::string verb);

/// Loads with the memory plan and progress on stderr when that is a terminal. Throws kUsage for options that do not fit the model,
/// kCapacity for a plan that does not fit the memory, and what loading throws.
LoadedModel load(const RunOptions& options, const NeedsOf& needs_of = nullptr);

/// Writes all of the text to stdout, at once. Throws kIo when stdout does not take it (a full disk, ...).
void write_stdout(std::string_view text);

/// A JSON list of token ids, or {"ids": [...]}. Throws kRequest or kIo with the file's name.
std::vector<int32_t> read_ids(const std::string& path);

}  // namespace hadal::cli
