#pragma once

#include <string>

#include "cli/text_generator.h"

namespace hadal::cli {

/// A conversation on the terminal, or with lines from a pipe: user lines in, answers out, until /exit or the end of input.
/// prompt: what stands before the line being typed. system: the first message, if not empty.
void chat_loop(TextGenerator& generator, const std::string& prompt, const std::string& system);

}  // namespace hadal::cli
