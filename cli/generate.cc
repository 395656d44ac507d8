// hadal generate: the continuation goes to stdout and everything else to stderr, so `> out.txt` is clean.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "cli/chat_loop.h"
#include "cli/commands.h"
#include "cli/text_generator.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "hadal/core/error.h"
#include "hadal/core/json.h"
#include "hadal/core/log.h"

namespace hadal::cli {
namespace {

constexpr int64_t kMaxPromptFileBytes = int64_t{256} << 20;

struct GenerateCommand {
  RunOptions run;
  GenerateOptions generate;
  std::string prompt, file, input_file, demo_config;
  bool interactive = false, stream = true, echo = false, as_json = false, logprobs = false;
};

std::string read_prompt_file(const std::string& path) {
  if (path != "-") return read_text_file(path, kMaxPromptFileBytes, ErrorKind::kRequest);
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

// One prompt a line, stripped as the V3 demo does; an empty line is an empty prompt there and a mistake here.
std::vector<std::string> read_prompt_lines(const std::string& path) {
  const std::string text = read_prompt_file(path);
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    line.erase(line.find_last_not_of(" \t\r") + 1);
    line.erase(0, line.find_first_not_of(" \t"));
    if (line.empty())
      fail(ErrorKind::kRequest, "{}\n  line      {}\n  expected  a prompt\n  found     nothing", path,
           lines.size() + 1);
    lines.push_back(line);
    begin = end + 1;
  }
  if (lines.empty())
    fail(ErrorKind::kRequest, "{}\n  expected  one prompt a line\n  found     an empty file", path);
  return lines;
}

json logprob_json(const text::Tokenizer& tokenizer, const engine::Sampled& sampled) {
  const auto one = [&](int32_t token, float logprob) {
    const bool known = !tokenizer.token(token).empty();  // a padded vocabulary has ids without a token
    const std::string text = known ? tokenizer.decode(std::span(&token, 1), false) : "";
    return json{{"id", token}, {"token", text}, {"logprob", logprob}};
  };
  json entry = one(sampled.token, sampled.logprob);
  for (const engine::TokenLogprob& other : sampled.top)
    entry["top_logprobs"].push_back(one(other.token, other.logprob));
  return entry;
}

json completion_json(const TextGenerator& generator, const std::string& prompt, const Completion& completion,
                     bool logprobs) {
  json out{{"prompt", prompt},
           {"text", completion.text},
           {"finish_reason", to_string(completion.reason)},
           {"prompt_tokens", completion.num_prompt_tokens},
           {"completion_tokens", completion.tokens.size()}};
  out["ids"] = json::array();
  for (const engine::Sampled& sampled : completion.tokens) out["ids"].push_back(sampled.token);
  for (const engine::Sampled& sampled : completion.tokens) {
    if (logprobs) out["logprobs"].push_back(logprob_json(generator.tokenizer(), sampled));
  }
  return out;
}

// Without --json the product stays alone on stdout, so log-probabilities go to stderr: id, logprob, token.
void print_logprobs(const TextGenerator& generator, const Completion& completion) {
  for (const engine::Sampled& sampled : completion.tokens) {
    const json entry = logprob_json(generator.tokenizer(), sampled);
    fmt::print(stderr, "{:>7} {:>9.4f} {}\n", sampled.token, sampled.logprob, entry["token"].dump());
  }
}

void print_completion(const GenerateCommand& options, const TextGenerator& generator,
                      const std::string& prompt, const Completion& completion, bool shown) {
  if (options.as_json) {
    write_stdout(completion_json(generator, prompt, completion, options.logprobs).dump() + "\n");
    return;
  }
  if (!options.input_file.empty()) {  // the V3 demo's form
    write_stdout(fmt::format("Prompt: {}\nCompletion: {}\n\n", prompt, completion.text));
  } else {
    write_stdout(shown ? "\n" : (options.echo ? prompt : "") + completion.text + "\n");
  }
  if (options.logprobs) print_logprobs(generator, completion);
}

void generate(const GenerateCommand& options) {
  std::vector<std::string> prompts;
  if (!options.input_file.empty()) {
    prompts = read_prompt_lines(options.input_file);
  } else {
    prompts = {options.file.empty() ? options.prompt : read_prompt_file(options.file)};
  }
  TextGenerator generator(options.run, options.generate);
  std::vector<std::vector<int32_t>> ids;
  ids.reserve(prompts.size());
  for (const std::string& prompt : prompts)
    ids.push_back(generator.tokenizer().encode(prompt, /*add_special=*/true));
  generator.load(ids);

  const bool stream = options.stream && !options.as_json && options.input_file.empty();
  if (stream && options.echo) write_stdout(prompts[0]);
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Completion> completions = generator.run(ids, [&](size_t, std::string_view text) {
    if (stream) write_stdout(text);
  });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  size_t tokens = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    print_completion(options, generator, prompts[i], completions[i], stream);
    tokens += completions[i].tokens.size();
  }
  log_info("{} prompts, {} tokens in {:.2f} s: {:.1f} tokens/s", prompts.size(), tokens, seconds.count(),
           static_cast<double>(tokens) / seconds.count());
}

void run(const GenerateCommand& options) {
  if (!options.demo_config.empty()) {
    log_warning("--config {} is not read: the checkpoint's own config.json is", options.demo_config);
  }
  if (options.interactive) {
    TextGenerator generator(options.run, options.generate);
    chat_loop(generator, {.prompt = ">>> "});
    return;
  }
  generate(options);
}

}  // namespace

void add_generate(CLI::App& app) {
  auto options = std::make_shared<GenerateCommand>();
  CLI::App* cmd = app.add_subcommand("generate", "Continue a prompt, or each line of a file");
  add_run_options(*cmd, options->run);
  cmd->add_option("--ckpt-path", options->run.model, "The same as --model (the DeepSeek-V3 demo's name)")
      ->excludes(cmd->get_option("--model"));
  cmd->add_option("--config", options->demo_config, "Accepted as the DeepSeek-V3 demo has it, and not read");
  auto* source = cmd->add_option_group("prompt");
  source->add_option("-p,--prompt", options->prompt, "Text to continue");
  source->add_option("-f,--file", options->file, "File with the text to continue ('-': stdin)");
  auto* input_file = source->add_option("--input-file", options->input_file,
                                        "File with one prompt a line, answered together");
  auto* interactive =
      source->add_flag("--interactive", options->interactive, "Talk with the model, as `hadal chat` does");
  source->require_option(1);
  add_generate_options(*cmd, options->generate);
  cmd->add_option("--max-num-seqs", options->generate.max_num_seqs,
                  "With --input-file: prompts that run together at most")
      ->capture_default_str()
      ->check(number_from(1, 4096));
  cmd->add_flag("--stream,!--no-stream", options->stream,
                "Show text as it comes (default), or at the end (always with --input-file and --json)");
  auto* echo = cmd->add_flag("--echo", options->echo, "Show the prompt before its continuation");
  auto* as_json = cmd->add_flag("--json", options->as_json,
                                "A JSON object a line: prompt, text, ids, finish_reason, ...");
  auto* logprobs =
      cmd->add_option(
             "--logprobs", options->generate.sampling.num_logprobs,
             "Log-probability of each token, and of the N most probable ones (--json: in the object; "
             "else on stderr)")
          ->expected(0, 1)
          ->default_str("0")
          ->check(number_from(0, 1000));
  echo->excludes(as_json, input_file);  // both show the prompt anyway
  interactive->excludes(as_json, echo, logprobs);
  cmd->callback([options, cmd] {
    options->logprobs = cmd->count("--logprobs") > 0;
    run(*options);
  });
}

}  // namespace hadal::cli
