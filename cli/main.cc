#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

#include "cli/commands.h"
#include <CLI/CLI.hpp>

#include "hadal/core/error.h"
#include "hadal/core/log.h"
#include "hadal/core/mmap_file.h"

namespace hadal::cli {
namespace {

constexpr int kFailure = 1, kUsage = 2;

int report(int code, const char* message) {
  std::fprintf(stderr, "hadal: %s\n", message);
  return code;
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
  for (auto* add : {add_generate, add_chat, add_tokenize, add_render, add_logits, add_inspect, add_verify})
    add(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);  // --help, --version
  } catch (const CLI::ParseError& e) {
    app.exit(e);
    return kUsage;
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

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_DFL);  // `hadal generate | head` ends quietly
  hadal::install_mmap_fault_handler();
  return hadal::cli::run(argc, argv);
}
