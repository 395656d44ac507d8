#include "cli/serve_options.h"

#include <algorithm>
#include <cctype>
#include <memory>
#include <sstream>

#include "cli/pasted_flags.h"
#include <nlohmann/json.hpp>

#include "hadal/core/error.h"
#include "hadal/core/json.h"

namespace hadal::cli {
namespace {

constexpr int64_t kMaxConfigBytes = 1 << 20;

void add_network(CLI::App& cmd, serve::ServeOptions& s) {
  cmd.add_option("--host", s.host, "Address to listen on; one that others can reach needs keys")
      ->capture_default_str();
  cmd.add_option("--port", s.port, "0: any free one")->capture_default_str()->check(number_from(0, 65535));
  cmd.add_option("--uds", s.unix_socket, "Listen on this Unix socket instead");
  repeatable(cmd.add_option("--api-key", s.api_keys, "A key that requests must have; repeatable"));
  cmd.add_option("--accounts", s.accounts_db,
                 "Database of `hadal keys`: everybody needs a key, with its limits and balance");
  repeatable(cmd.add_option("--allowed-host", s.allowed_hosts,
                            "A name of this machine's that requests without keys may use; repeatable"));
  cmd.add_option("--ssl-certfile", s.ssl_certfile, "TLS: certificate chain, PEM; read again at SIGHUP");
  cmd.add_option("--ssl-keyfile", s.ssl_keyfile, "TLS: private key, PEM");
  cmd.add_option("--threads-http", s.http_threads,
                 "Threads for connections, and as many for large requests and grammars")
      ->capture_default_str()
      ->check(number_from(1, 256));
  cmd.add_option("--max-body-bytes", s.max_body_bytes, "Size of a request at most")
      ->capture_default_str()
      ->check(number_from(1024, 1 << 30));
}

void add_engine(CLI::App& cmd, ServeFlags& f) {
  cmd.add_option("--max-num-seqs,--max-running-requests,--parallel", f.max_num_seqs,
                 "Requests that run together at most")
      ->capture_default_str()
      ->check(number_from(1, 4096));
  cmd.add_option("-c,--max-model-len,--context-length,--ctx-size", f.max_model_len,
                 "Tokens of prompt and answer together at most (default: the model's)")
      ->check(number_from(2, kMostTokens));
  cmd.add_option("-b,--max-num-batched-tokens,--chunked-prefill-size,--batch-size", f.max_tokens_per_step,
                 "Tokens computed in one step at most")
      ->capture_default_str()
      ->check(number_from(1, 1 << 20));
  cmd.add_option("--kv-cache-tokens,--max-total-tokens", f.kv_cache_tokens,
                 "Size of the cache (default: by the free memory)")
      ->check(number_from(1, kMostTokens));
  cmd.add_option("--mem-fraction-static,--gpu-memory-utilization", f.memory_fraction,
                 "Share of the free memory for cache and scratch")
      ->capture_default_str()
      ->check(number_above(0, 1));
  cmd.add_option("--max-queued-requests", f.serve.max_queued, "Requests that wait at most; one more gets 429")
      ->capture_default_str()
      ->check(number_from(0, 1 << 20));
  cmd.add_flag("--enable-prefix-caching,!--disable-radix-cache,!--no-enable-prefix-caching", f.prefix_caching,
               "Share the computed beginnings of prompts (default)");
  cmd.add_flag("--cache-answers", f.cache_answers,
               "Share the pages of answers too: the next turn of a chat starts sooner, but no longer with "
               "the same bits");
  cmd.add_option("--kv-cache-dir", f.kv_cache_dir,
                 "Folder where computed prompts are kept, for the next start too");
  cmd.add_option("--kv-cache-dir-gb", f.kv_cache_dir_gb, "Its size at most, in GB")
      ->capture_default_str()
      ->check(number_above(0, 1e6));
  cmd.add_option("--speculative-algorithm", f.speculation,
                 "Drafts: mtp (SGLang: EAGLE, NEXTN), ngram or off; answers stay the same, bit by bit")
      ->capture_default_str()
      ->transform(CLI::CheckedTransformer(
          std::vector<std::pair<std::string, std::string>>{
              {"off", "off"}, {"ngram", "ngram"}, {"mtp", "mtp"}, {"eagle", "mtp"}, {"nextn", "mtp"}},
          CLI::ignore_case));
  cmd.add_option("--speculative-num-draft-tokens", f.num_speculative_tokens, "Drafts at a time, by n-gram")
      ->capture_default_str()
      ->check(number_from(1, 16));
}

void add_answers(CLI::App& cmd, ServeFlags& f) {
  serve::ServeOptions& s = f.serve;
  repeatable(cmd.add_option("-a,--served-model-name,--alias", s.served_names,
                            "Names of the model; the first is its id (default: the folder's); repeatable"));
  cmd.add_flag("--strict-model-name", s.strict_model_name, "404 for requests that name another model");
  add_chat_template_option(cmd, s.chat_template);
  cmd.add_option("--seed,--random-seed", s.seed,
                 "Seed of requests that name none (default: another one for each)");
  cmd.add_option("--sse-keepalive", f.keepalive, "Seconds of silence before a comment line; 0: none")
      ->capture_default_str()
      ->check(number_from(0, 86400));
  cmd.add_option_function<double>(
         "--request-timeout",
         [&s](const double& seconds) { s.request_timeout = std::chrono::duration<double>(seconds); },
         "Seconds from a request's arrival to its answer's end; then it is given up (default: any number)")
      ->check(number_from(0, 86400 * 365));
  cmd.add_option("--drain-timeout", f.drain_timeout, "Seconds that answers may take after SIGTERM")
      ->capture_default_str()
      ->check(number_from(0, 86400));
}

void add_log_options(CLI::App& cmd, serve::ServeOptions& s) {
  auto* log =
      cmd.add_option("--request-log", s.request_log, "Append a JSON line for each request to this file");
  cmd.add_flag("--log-prompts", s.log_prompts, "With what the requests say; else nothing of that is logged")
      ->needs(log);
  cmd.add_option(
      "--record", s.record,
      "Append all that `hadal replay` needs to compute each request again to this file: with its text");
  auto* metrics = cmd.add_flag("!--disable-metrics", s.metrics, "No GET /metrics");
  cmd.add_flag("--metrics-open", s.metrics_open, "GET /metrics without a key")->excludes(metrics);
}

void name_environment(CLI::App& cmd) {
  for (CLI::Option* option : cmd.get_options()) {
    if (option->get_lnames().empty()) continue;
    std::string name = option->get_lnames().front();
    if (name == "help") continue;
    std::ranges::transform(name, name.begin(), [](unsigned char c) {
      return c == '-' ? '_' : static_cast<char>(std::toupper(c));
    });
    option->envname("HADAL_" + name);
  }
}

std::vector<CLI::ConfigItem> parse_config(const std::string& file) {
  const std::string text = read_text_file(file, kMaxConfigBytes, ErrorKind::kUsage);
  if (!file.ends_with(".json")) {
    std::istringstream stream(text);
    try {
      return CLI::ConfigTOML().from_config(stream);
    } catch (const CLI::Error& e) {
      fail(ErrorKind::kUsage, "{}\n  expected  TOML\n  found     {}", file, e.what());
    }
  }
  const json object = parse_json(text, file, ErrorKind::kUsage);
  if (!object.is_object())
    fail(ErrorKind::kUsage, "{}\n  expected  an object\n  found     {}", file, object.type_name());
  std::vector<CLI::ConfigItem> items;
  for (const auto& [name, value] : object.items()) {
    CLI::ConfigItem item;
    item.name = name;
    for (const json& one : value.is_array() ? value : json::array({value}))
      item.inputs.push_back(one.is_string() ? one.get<std::string>() : one.dump());
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace

void add_serve_flags(CLI::App& cmd, ServeFlags& flags) {
  add_run_options(cmd, flags.run);
  cmd.add_option("MODEL,--model-path", flags.run.model, "The same as --model, as vLLM and SGLang spell it")
      ->excludes(cmd.get_option("--model"));
  add_network(cmd, flags.serve);
  add_answers(cmd, flags);
  add_engine(cmd, flags);
  add_log_options(cmd, flags.serve);
  add_ignored_flags(cmd, flags.ignored);
  name_environment(cmd);
  cmd.add_option("--config", flags.config,
                 "TOML or JSON file with these names; flags and environment go first");
}

void read_config(CLI::App& cmd, const std::string& file) {
  for (const CLI::ConfigItem& item : parse_config(file)) {
    std::string name = item.name;
    std::ranges::replace(name, '_', '-');
    CLI::Option* option = cmd.get_option_no_throw("--" + name);
    if (option == nullptr || !item.parents.empty())
      fail(ErrorKind::kUsage, "{}\n  key       {}\n  expected  a flag of `hadal serve` without its dashes",
           file, item.fullname());
    if (option->count() > 0) continue;
    try {
      for (const std::string& value : item.inputs) option->add_result(value);
      option->run_callback();
    } catch (const CLI::Error& e) {
      fail(ErrorKind::kUsage, "{}\n  key       {}\n  found     {}", file, item.name, e.what());
    }
  }
}

}  // namespace hadal::cli
