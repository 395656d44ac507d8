// hadal bench serve: load for any server that speaks OpenAI's API, and vLLM's table of what came of it.
#include <cmath>
#include <fstream>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/load_client.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/core/error.h"
#include "hadal/core/json.h"

namespace hadal::cli {
namespace {

struct BenchServeOptions {
  std::string base_url, host = "127.0.0.1", endpoint = "/v1/completions", model, api_key;
  int port = 8000;
  std::string dataset = "random", dataset_path;
  int64_t num_prompts = 100, input_len = 256, output_len = 64, max_concurrency = 0;
  double request_rate = std::numeric_limits<double>::infinity();
  uint64_t seed = 0;
  bool ignore_eos = false, json = false;

  bool is_chat() const { return endpoint.ends_with("chat/completions"); }
};

struct LoadPrompt {
  json prompt;  // text or token ids
  int64_t output_tokens = 0;
};

/// What GET /v1/models says of the model that is to be asked.
struct ServedModel {
  std::string name;
  int64_t num_tokens = 1000;  // of its vocabulary, at least
};

ServedModel find_model(const LoadTarget& target, const std::string& wanted) {
  const json list = parse_json(get(target, "/v1/models"), "/v1/models", ErrorKind::kIo);
  const json models = list.is_object() ? list.value("data", json::array()) : json::array();
  ServedModel model{wanted};
  for (const json& entry : models) {
    if (!entry.is_object()) continue;
    const std::string id = entry.value("id", "");
    if (model.name.empty()) model.name = id;
    if (id != model.name || !entry.contains("meta") || !entry["meta"].is_object()) continue;
    model.num_tokens = std::max<int64_t>(entry["meta"].value("n_vocab", model.num_tokens), model.num_tokens);
  }
  if (model.name.empty())
    fail(ErrorKind::kIo, "/v1/models\n  expected  a model\n  found     none\n  hint      --model NAME");
  return model;
}

// Ids from the middle of the vocabulary: special tokens stand at its ends. A chat takes text only: short words, each about a token.
LoadPrompt random_prompt(const BenchServeOptions& o, const ServedModel& model, std::mt19937_64& random) {
  constexpr const char* kWords[] = {"the", "and", "to",  "was", "a",   "he",  "she", "it",  "day", "big",
                                    "on",  "in",  "is",  "of",  "up",  "her", "his", "dog", "cat", "sun",
                                    "red", "one", "two", "out", "saw", "had", "ran", "my",  "we",  "you"};
  const bool chat = o.is_chat();
  const auto low = chat ? 0 : model.num_tokens / 8;
  const auto high = chat ? std::ssize(kWords) - 1 : model.num_tokens * 7 / 8;
  std::uniform_int_distribution<int64_t> draw(low, high);
  json ids = json::array();
  std::string text;
  for (int64_t i = 0; i < o.input_len; ++i) {
    if (!chat) {
      ids.push_back(draw(random));
    } else {
      text += (i > 0 ? " " : "") + std::string(kWords[draw(random)]);
    }
  }
  return {chat ? json(text) : ids, o.output_len};
}

std::vector<LoadPrompt> read_prompts(const BenchServeOptions& o) {
  std::vector<LoadPrompt> prompts;
  std::ifstream file(o.dataset_path);
  if (!file) fail(ErrorKind::kIo, "--dataset-path {}\n  cannot be opened", o.dataset_path);
  int64_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.empty()) continue;
    const std::string where = fmt::format("{} line {}", o.dataset_path, number);
    const json entry = parse_json(line, where, ErrorKind::kUsage);
    if (!entry.is_object() || !entry.contains("prompt") || !entry["prompt"].is_string())
      fail(ErrorKind::kUsage, "{}\n  expected  an object with a prompt\n  found     {}", where,
           entry.type_name());
    const auto length = entry.find("output_tokens");
    const bool has_length = length != entry.end() && length->is_number_integer();
    prompts.push_back({entry["prompt"], has_length ? length->get<int64_t>() : o.output_len});
  }
  if (prompts.empty()) fail(ErrorKind::kUsage, "{}\n  expected  a prompt\n  found     none", o.dataset_path);
  return prompts;
}

std::string body_of(const BenchServeOptions& o, const ServedModel& model, const LoadPrompt& prompt) {
  json body{{"model", model.name},
            {"temperature", 0},
            {"max_tokens", prompt.output_tokens},
            {"stream", true},
            {"stream_options", {{"include_usage", true}}}};
  if (o.is_chat()) {
    body["messages"] = json::array({{{"role", "user"}, {"content", prompt.prompt}}});
  } else {
    body["prompt"] = prompt.prompt;
  }
  if (o.ignore_eos) body["ignore_eos"] = true;
  return body.dump();
}

std::vector<std::string> make_bodies(const BenchServeOptions& o, const ServedModel& model) {
  std::mt19937_64 random(o.seed);
  std::vector<LoadPrompt> prompts;
  if (o.dataset == "file") prompts = read_prompts(o);
  std::vector<std::string> bodies;
  for (int64_t i = 0; i < o.num_prompts; ++i) {
    const LoadPrompt prompt =
        prompts.empty() ? random_prompt(o, model, random) : prompts[static_cast<size_t>(i) % prompts.size()];
    bodies.push_back(body_of(o, model, prompt));
  }
  return bodies;
}

void bench_serve(const BenchServeOptions& o) {
  if ((o.dataset == "file") != !o.dataset_path.empty())
    fail(ErrorKind::kUsage, "--dataset-path\n  expected  with --dataset-name file, and only then");
  LoadTarget target;
  if (o.base_url.empty()) {
    target.host = o.host;
    target.port = std::to_string(o.port);
  } else {
    target = parse_base_url(o.base_url);
  }
  target.endpoint = o.endpoint;
  target.api_key = o.api_key;
  const std::vector<std::string> bodies = make_bodies(o, find_model(target, o.model));
  const LoadShape shape{o.request_rate, o.max_concurrency, o.seed};
  const LoadResult result = run_load(target, shape, bodies);
  const serve::LoadReport report = serve::make_report(result.samples, result.duration_s);
  write_stdout(o.json ? serve::to_json(report).dump(2) + "\n" : serve::to_table(report));
  for (const serve::LoadSample& sample : result.samples) {
    if (sample.ok) continue;
    fail(ErrorKind::kIo, "{} of {} requests failed, the first with\n  {}", report.failed, bodies.size(),
         sample.error);
  }
}

}  // namespace

void add_bench_serve(CLI::App& bench) {
  auto options = std::make_shared<BenchServeOptions>();
  CLI::App* cmd =
      bench.add_subcommand("serve", "Load for a server with OpenAI's API: throughput and latencies");
  BenchServeOptions& o = *options;
  cmd->add_option("--base-url", o.base_url, "http://HOST:PORT; instead of --host and --port");
  cmd->add_option("--host", o.host)->capture_default_str();
  cmd->add_option("--port", o.port)->capture_default_str()->check(number_from(1, 65535));
  cmd->add_option("--endpoint", o.endpoint, "/v1/completions or /v1/chat/completions")
      ->capture_default_str()
      ->check([](const std::string& path) {
        return path.starts_with('/') && path.ends_with("completions") ? "" : "expected a path of completions";
      });
  cmd->add_option("--model", o.model, "Its name (default: the first of /v1/models)");
  cmd->add_option("--api-key", o.api_key)->envname("OPENAI_API_KEY");
  cmd->add_option("--num-prompts", o.num_prompts)->capture_default_str()->check(number_from(1, 1 << 24));
  cmd->add_option("--request-rate", o.request_rate,
                  "Requests a second, as a Poisson process; inf: all at once")
      ->capture_default_str()
      ->check(number_above(0, std::numeric_limits<double>::infinity()));
  cmd->add_option("--max-concurrency", o.max_concurrency, "Requests at a time (default: any number)")
      ->check(number_from(1, 1 << 20));
  cmd->add_option("--dataset-name", o.dataset, "Where prompts come from: random tokens, or a file")
      ->capture_default_str()
      ->check(CLI::IsMember({"random", "file"}));
  cmd->add_option("--dataset-path", o.dataset_path,
                  "JSON lines with prompt and, if they like, output_tokens");
  cmd->add_option("--random-input-len", o.input_len, "Tokens of a prompt (words, of a chat)")
      ->capture_default_str()
      ->check(number_from(1, kMostTokens));
  cmd->add_option("--random-output-len", o.output_len, "Tokens of an answer, at most")
      ->capture_default_str()
      ->check(number_from(1, kMostTokens));
  cmd->add_flag("--ignore-eos", o.ignore_eos, "Answers are as long as they may be");
  cmd->add_option("--seed", o.seed, "Of prompts and arrivals")->capture_default_str();
  cmd->add_flag("--json", o.json, "Print one JSON object, with vLLM's names");
  cmd->callback([options] { bench_serve(*options); });
}

}  // namespace hadal::cli
