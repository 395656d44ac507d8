#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace hadal::cli {

/// The words of a command line whose flags of several letters behind one dash, which llama.cpp, vLLM and SGLang have (`-ngl`, `-tp`),
/// have their long names instead: else each letter would be a flag. Words that are none of these stay.
std::vector<std::string> with_long_names(std::vector<std::string> words);

/// Flags of other servers that mean nothing here are taken, and named in `ignored` as they were given.
void add_ignored_flags(CLI::App& cmd, std::vector<std::string>& ignored);

}  // namespace hadal::cli
