#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/pasted_flags.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "hadal/core/error.h"
#include "hadal/core/log.h"
#include "hadal/core/mmap_file.h"

namespace hadal::cli {
namespace {

constexpr int kFailure = 1, kUsage = 2;

int report(int code, const char* message) {
  const char* clear = isatty(STDERR_FILENO) != 0 ? "\r\033[K" : "";  // what a progress line left
  std::fprintf(stderr, "%shadal: %s\n", clear, message);
  return code;
}

// What is wrong with the command line, and where its help is.
int report_usage(const CLI::App& app, const CLI::ParseError& error) {
  const auto given = app.get_subcommands();
  const std::string name = given.empty() ? "hadal" : "hadal " + given.front()->get_name();
  const std::vector<std::string> unknown = app.remaining(true);
  // A misspelt word can be why a required one is missing, which is all that the parser says then.
  const std::string message = unknown.empty()                                 ? error.what()
                              : given.empty() && !unknown[0].starts_with('-') ? "no command " + unknown[0]
                                                                              : "not expected: " + unknown[0];
  fmt::print(stderr, "{}: {}\n  hint      {} --help\n", name, message, name);
  return kUsage;
}

int run(int argc, char** argv) {
  CLI::App app("Runs the DeepSeek-V2/V3 family from its Hugging Face checkpoints.", "hadal");
  app.set_version_flag("--version", "hadal " HADAL_VERSION);
  app.require_subcommand(1);
  bool verbose = false;
  app.add_flag("-v,--verbose", verbose, "Say on stderr what is being done");
  app.parse_complete_callback([&verbose] {
    if (verbose) set_log_level(LogLevel::kInfo);
  });
  for (auto* add : {add_generate, add_chat, add_tokenize, add_render, add_logits, add_inspect, add_verify,
                    add_bench, add_quantize, add_doctor, add_plan, add_serve, add_replay, add_keys})
    add(app);
  try {
    std::vector<std::string> words(argv + 1, argv + argc);
    if (!words.empty() && words.front() == "serve") words = with_long_names(std::move(words));
    std::ranges::reverse(words);  // as the parser wants them
    app.parse(std::move(words));
  } catch (const CLI::Success& e) {
    return app.exit(e);  // --help, --version
  } catch (const CLI::ParseError& e) {
    return report_usage(app, e);
  } catch (const Error& e) {
    return report(e.kind() == ErrorKind::kUsage ? kUsage : kFailure, e.what());
  } catch (const std::bad_alloc&) {
    return report(kFailure, "out of memory\n  hint      a smaller model, a shorter --max-model-len");
  } catch (const std::exception& e) {
    return report(kFailure, e.what());
  }
  return 0;
}

}  // namespace
}  // namespace hadal::cli

// NOLINTNEXTLINE(bugprone-exception-escape): what cannot even be reported ends the process, as it should
int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_DFL);  // `hadal generate | head` ends quietly
  hadal::install_mmap_fault_handler();
  return hadal::cli::run(argc, argv);
}
