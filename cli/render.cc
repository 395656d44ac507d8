#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include <nlohmann/json.hpp>

#include "hadal/core/error.h"
#include "hadal/core/json.h"
#include "hadal/text/chat_template.h"

namespace hadal::cli {
namespace {

constexpr int64_t kMaxInputBytes = int64_t{64} << 20;

struct RenderCommand {
  std::string model, messages, tools, chat_template;
  bool no_generation_prompt = false;
  std::vector<std::string> template_args;
};

// thinking=true -> {"thinking": true}. What is not JSON is taken as a string, so that name=value needs no quotes.
json parse_template_args(const std::vector<std::string>& args) {
  json parsed = json::object();
  for (const std::string& arg : args) {
    const size_t equals = arg.find('=');
    if (equals == 0 || equals == std::string::npos) {
      fail(ErrorKind::kUsage, "--template-arg\n  expected  name=value\n  found     {}", arg);
    }
    const std::string name = arg.substr(0, equals), value = arg.substr(equals + 1);
    try {
      parsed[name] = parse_json(value, "--template-arg " + name, ErrorKind::kUsage);
    } catch (const Error&) {
      parsed[name] = value;
    }
  }
  return parsed;
}

// A list of messages, or an object with one, as a request to the API has it.
json read_messages(const std::string& path) {
  json messages = read_json_file(path, kMaxInputBytes, ErrorKind::kRequest);
  if (messages.is_object() && messages.contains("messages")) return messages["messages"];
  return messages;
}

void render(const RenderCommand& command) {
  const auto chat_template = text::ChatTemplate::load(model_folder(command.model), command.chat_template);
  const json messages = read_messages(command.messages);
  const json template_args = parse_template_args(command.template_args);
  text::RenderOptions options;
  options.add_generation_prompt = !command.no_generation_prompt;
  options.template_args = &template_args;
  json tools;
  if (!command.tools.empty()) {
    tools = read_json_file(command.tools, kMaxInputBytes, ErrorKind::kRequest);
    options.tools = &tools;
  }
  write_stdout(chat_template.render(messages, options));
}

}  // namespace

void add_render(CLI::App& app) {
  auto command = std::make_shared<RenderCommand>();
  CLI::App* cmd = app.add_subcommand("render", "Print the prompt that the chat template makes of messages");
  add_model_option(*cmd, command->model);
  cmd->add_option("--messages", command->messages, "JSON file: a list of messages in OpenAI's form")
      ->required();
  cmd->add_option("--tools", command->tools, "JSON file: the list of tools that the template sees");
  add_chat_template_option(*cmd, command->chat_template);
  cmd->add_flag("--no-generation-prompt", command->no_generation_prompt,
                "Leave out what begins the assistant's answer");
  repeatable(
      cmd->add_option("--template-arg", command->template_args,
                      "name=value for the template, e.g. thinking=true (JSON, else a string); repeatable"));
  cmd->footer("The prompt goes to stdout exactly as it is, without a newline at its end.");
  cmd->callback([command] { render(*command); });
}

}  // namespace hadal::cli
