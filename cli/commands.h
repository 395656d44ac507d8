#pragma once

#include <CLI/CLI.hpp>

namespace hadal::cli {

// One function per subcommand; each adds its options to `app` and a callback that does the work.
void add_generate(CLI::App& app);
void add_chat(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_render(CLI::App& app);
void add_logits(CLI::App& app);
void add_inspect(CLI::App& app);
void add_verify(CLI::App& app);
void add_bench(CLI::App& app);
void add_bench_serve(CLI::App& bench);
void add_quantize(CLI::App& app);
void add_doctor(CLI::App& app);
void add_plan(CLI::App& app);
void add_serve(CLI::App& app);
void add_replay(CLI::App& app);
void add_keys(CLI::App& app);

}  // namespace hadal::cli
