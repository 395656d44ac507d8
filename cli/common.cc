#include "cli/common.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "hadal/core/error.h"
#include "hadal/core/json.h"
#include "hadal/core/log.h"
#include "hadal/io/model_folder.h"

namespace hadal::cli {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxIdsFileBytes = int64_t{64} << 20;  // some ten million ids, beyond any context

// $HADAL_MODELS/tiny-chat; models/tiny-chat beside or above the binary (a build tree); share/hadal/models/tiny-chat next
// to the bin folder of an installed one.
std::string built_in_model() {
  std::vector<fs::path> candidates;
  if (const char* models = std::getenv("HADAL_MODELS")) candidates.push_back(fs::path(models) / "tiny-chat");
  std::error_code ignored;
  const fs::path binary = fs::read_symlink("/proc/self/exe", ignored);
  for (fs::path at = binary.parent_path(); at.has_relative_path(); at = at.parent_path()) {
    candidates.push_back(at / "share/hadal/models/tiny-chat");
    candidates.push_back(at / "models/tiny-chat");
  }
  std::string tried;
  for (const fs::path& candidate : candidates) {
    if (fs::exists(candidate / "config.json", ignored)) return candidate.string();
    tried += "\n            " + candidate.string();
  }
  fail(ErrorKind::kIo,
       "no --model, and the built-in one is not found\n  looked in{}\n  hint      --model FOLDER", tried);
}

// The message of a validator; empty if the text is a number that fits. NaN fits nowhere.
std::string check_number(const std::string& text, const std::string& range,
                         const std::function<bool(double)>& fits) {
  double number = 0;
  if (CLI::detail::lexical_cast(text, number) && fits(number)) return "";
  return fmt::format("expected {}, found {}", range, text);
}

// "about 2 h 5 min left", by how fast it went until now; nothing in the first seconds, when nobody can say.
std::string time_left(double seconds_passed, double share_done) {
  constexpr double kTooEarly = 3.0;
  if (seconds_passed < kTooEarly || share_done <= 0.0) return "";
  const auto left = static_cast<int64_t>(seconds_passed * (1.0 - share_done) / share_done);
  if (left < 60) return fmt::format(", {} s left", left);
  return left < 3600 ? fmt::format(", {} min left", left / 60)
                     : fmt::format(", {} h {} min left", left / 3600, left / 60 % 60);
}

// "loading 312 MiB of 1.50 GiB, 20 s left" on one line of a terminal, rewritten at most ten times a second.
class ProgressLine {
 public:
  explicit ProgressLine(std::string verb) : verb_(std::move(verb)) {}

  void operator()(int64_t done, int64_t total) {
    const auto now = Clock::now();
    if (done < total && now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    const std::chrono::duration<double> passed = now - start_;
    const std::string text =
        fmt::format("{} {} of {}{}", verb_, format_bytes(done), format_bytes(total),
                    time_left(passed.count(), static_cast<double>(done) / static_cast<double>(total)));
    if (done < total) {
      fmt::print(stderr, "\r{:<60}", text);
    } else {
      fmt::print(stderr, "\r{:<60}\r", "");
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::string verb_;
  Clock::time_point start_ = Clock::now(), last_;
};

}  // namespace

CLI::Validator number_from(double low, double high) {
  const std::string range = fmt::format("{} to {}", low, high);
  return CLI::Validator(
      [=](std::string& text) {
        return check_number(text, range, [=](double x) { return x >= low && x <= high; });
      },
      range);
}

CLI::Validator number_above(double low, double high) {
  const std::string range = fmt::format("above {}, at most {}", low, high);
  return CLI::Validator(
      [=](std::string& text) {
        return check_number(text, range, [=](double x) { return x > low && x <= high; });
      },
      range);
}

CLI::Option* repeatable(CLI::Option* option) {
  return option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->allow_extra_args(false);
}

std::string model_folder(const std::string& model) {
  return model.empty() ? built_in_model() : io::find_model_folder(model);
}

CLI::Option* add_model_option(CLI::App& cmd, std::string& model) {
  return cmd.add_option("-m,--model", model,
                        "Folder of a Hugging Face checkpoint, or org/name in the local Hugging Face cache "
                        "(default: the built-in model)");
}

void add_thread_options(CLI::App& cmd, ThreadOptions& options) {
  cmd.add_option("-t,--threads", options.threads, "Threads (default: all cores this process may use)")
      ->check(number_from(1, 4096));
  cmd.add_option("--cpu-list", options.cpu_list,
                 "Processors to run on, a thread on each: 0-15,32 (default: all this process may use)")
      ->check([](const std::string& text) { return text.empty() ? "expected processors, found none" : ""; });
  cmd.add_option(
         "--numa", options.numa,
         "auto: on several NUMA nodes, threads on all of them and each weight's rows on the node whose "
         "threads read them (copies, as --no-mmap)")
      ->transform(CLI::CheckedTransformer(std::vector<std::pair<std::string, std::string>>{
          {"auto", "auto"}, {"off", "off"}, {"distribute", "auto"}}))  // llama.cpp's word
      ->capture_default_str();
}

ThreadPlan thread_plan(const ThreadOptions& options) {
  ThreadRequest request{.threads = options.threads, .by_node = options.numa == "auto"};
  if (!options.cpu_list.empty()) request.cpus = parse_cpu_list(options.cpu_list, "--cpu-list");
  return plan_threads(request);
}

std::unique_ptr<ThreadPool> make_pool(const ThreadOptions& options) {
  const ThreadPlan plan = thread_plan(options);
  auto pool = std::make_unique<ThreadPool>(plan);
  const CpuList& own = plan.groups.front().cpus.front();
  if (!own.empty()) static_cast<void>(pin_this_thread(own));
  return pool;
}

void add_run_options(CLI::App& cmd, RunOptions& options) {
  add_model_option(cmd, options.model);
  add_thread_options(cmd, options.threads);
  cmd.add_flag("--mlock", options.mlock, "Keep the weights from being dropped from memory");
  cmd.add_flag("--no-mmap", options.no_mmap,
               "Copy the weights into memory of our own, in huge pages, instead of mapping the files");
  cmd.add_option("--dtype", options.dtype,
                 "Inputs of matrix products: bfloat16 (auto) or float32, not rounded at all")
      ->check(CLI::IsMember({"auto", "bfloat16", "float32", "float"}));
  cmd.add_option(
         "--activation-format", options.activation_format,
         "fp8: inputs of FP8 weights as E4M3, 1 x 128 (W8A8, as the official kernels; the rest in float32)")
      ->check(CLI::IsMember({"auto", "fp8"}));
  add_kv_cache_option(cmd, options.kv_cache_dtype);
}

void add_chat_template_option(CLI::App& cmd, std::string& given) {
  cmd.add_option("--chat-template,--chat-template-file", given,
                 "A file with the chat template, or its text (default: the checkpoint's)");
}

void add_kv_cache_option(CLI::App& cmd, std::string& dtype) {
  cmd.add_option("--kv-cache-dtype,--cache-type-k", dtype,
                 "Latents in the cache: bfloat16, or fp8 (fp8_e4m3) in 57 % of the memory; auto: as --dtype")
      ->check(CLI::IsMember({"auto", "bfloat16", "bf16", "fp8", "fp8_e4m3"}));
}

std::optional<Format> parse_kv_cache_dtype(const std::string& dtype) {
  if (dtype == "bfloat16" || dtype == "bf16") return Format::kBF16;
  if (dtype == "fp8" || dtype == "fp8_e4m3") return Format::kF8E4M3;
  return std::nullopt;
}

std::string_view kv_cache_name(Format format) {
  switch (format) {
    case Format::kF32:
      return "float32";
    case Format::kF8E4M3:
      return "fp8";
    default:
      return "bfloat16";
  }
}

model::LoadProgress show_progress(std::string verb) {
  if (isatty(STDERR_FILENO) == 0) return {};
  return ProgressLine(std::move(verb));
}

ops::Precision precision_for(const RunOptions& options, const model::Model& model) {
  ops::Precision precision;
  precision.f32 = options.dtype == "float32" || options.dtype == "float";
  precision.cache = parse_kv_cache_dtype(options.kv_cache_dtype);
  if (options.activation_format != "fp8") return precision;
  const auto& quantization = model.config.quantization;
  if (!quantization || quantization->format != Format::kF8E4M3) {
    fail(ErrorKind::kUsage,
         "--activation-format fp8\n  expected  a checkpoint with FP8 weights\n  found     {}",
         model.checkpoint.folder());
  }
  precision.f8_activations = true;
  precision.ue8m0 = quantization->ue8m0;
  // W8A8 roundings flip with the last bit of what goes into them; so nothing else is rounded unless it is asked for.
  if (options.dtype == "auto") precision.f32 = true;
  return precision;
}

namespace {

// What there is and what it is for, in one line: on a terminal, or with --verbose.
void show_plan(const MemoryPlan& plan) {
  if (isatty(STDERR_FILENO) != 0) {
    fmt::print(stderr, "{}\n", to_string(plan));
  } else {
    log_info("{}", to_string(plan));
  }
}

}  // namespace

LoadedModel load(const RunOptions& options, const NeedsOf& needs_of) {
  LoadedModel loaded;
  loaded.folder = model_folder(options.model);
  loaded.pool = make_pool(options.threads);
  loaded.model = model::bind_model(loaded.folder);
  loaded.precision = precision_for(options, loaded.model);
  const model::LoadOptions how{.copies = options.no_mmap || loaded.pool->num_groups() > 1,
                               .locks = options.mlock};
  MemoryPlan plan{.weights = loaded.model.checkpoint.total_bytes(),
                  .can_drop_weights = !how.copies && !how.locks,
                  .available = available_memory_bytes()};
  if (needs_of) plan.needs = needs_of(loaded.model.config, loaded.precision);
  show_plan(plan);
  check_plan(plan);
  model::read_weights(loaded.model, *loaded.pool, how, show_progress("loading"));
  return loaded;
}

void write_stdout(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  fail(ErrorKind::kIo, "stdout\n  cannot be written: {}", std::strerror(errno));
}

std::vector<int32_t> read_ids(const std::string& path) {
  json list = read_json_file(path, kMaxIdsFileBytes, ErrorKind::kRequest);
  if (list.is_object() && list.contains("ids")) list = list["ids"];
  std::vector<int32_t> ids;
  if (!list.is_array())
    fail(ErrorKind::kRequest, "{}\n  expected  a JSON list of token ids\n  found     {}", path,
         list.type_name());
  for (const json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
        id.get<int64_t>() > std::numeric_limits<int32_t>::max()) {
      fail(ErrorKind::kRequest, "{}\n  entry     {}\n  expected  a token id\n  found     {}", path,
           ids.size(), id.dump());
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

}  // namespace hadal::cli
