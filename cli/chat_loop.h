#pragma once

#include <string>

#include "cli/text_generator.h"

namespace hadal::cli {

struct ChatLook {
  std::string prompt = "> ";    // what stands before the line being typed
  std::string system{};         // the first message, if not empty
  std::string chat_template{};  // in the model's place, if not empty
};

/// A conversation on the terminal, or with lines from a pipe: user lines in, answers out, until /exit or the end of input.
void chat_loop(TextGenerator& generator, const ChatLook& look);

}  // namespace hadal::cli
