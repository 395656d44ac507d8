// hadal chat: a conversation through the model's chat template.
#include <memory>
#include <string>

#include "cli/chat_loop.h"
#include "cli/commands.h"
#include "cli/text_generator.h"
#include <CLI/CLI.hpp>

namespace hadal::cli {

void add_chat(CLI::App& app) {
  struct Options {
    RunOptions run;
    GenerateOptions generate;
    ChatLook look;
  };
  auto options = std::make_shared<Options>();
  options->generate.max_new_tokens = 4096;  // an answer ends by itself; this is for one that does not
  CLI::App* cmd =
      app.add_subcommand("chat", "Talk with the model: /clear, /system TEXT, /exit; Ctrl-C stops an answer");
  add_run_options(*cmd, options->run);
  add_generate_options(*cmd, options->generate);
  cmd->add_option("--system", options->look.system, "System message");
  add_chat_template_option(*cmd, options->look.chat_template);
  cmd->callback([options] {
    TextGenerator generator(options->run, options->generate);
    chat_loop(generator, options->look);
  });
}

}  // namespace hadal::cli
