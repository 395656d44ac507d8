// hadal serve: the model behind HTTP. The server answers from the first moment, if only that the model is being loaded; this
// thread loads it and then runs the engine.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "hadal/core/error.h"
#include "hadal/core/log.h"
#include "hadal/engine/engine_loop.h"
#include "hadal/serve/server.h"

namespace hadal::cli {
namespace {

struct Options {
  RunOptions run;
  serve::ServeOptions serve;
  int64_t max_num_seqs = 64, max_model_len = 0, max_tokens_per_step = 2048, kv_cache_tokens = 0;
  int64_t num_speculative_tokens = 4;
  std::string speculation = "off";
  bool prefix_caching = true;
  double memory_fraction = 0.8;
  int64_t keepalive = 30, drain_timeout = 30;
};

std::string base_name(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

// The options as the server takes them, with what they leave open.
serve::ServeOptions complete(const Options& options, const std::string& folder) {
  serve::ServeOptions s = options.serve;
  if (s.served_names.empty())
    s.served_names = {base_name(options.run.model.empty() ? folder : options.run.model)};
  s.sse_keepalive = std::chrono::seconds(options.keepalive);
  s.drain_timeout = std::chrono::seconds(options.drain_timeout);
  return s;
}

// As long a context as the model has, and as large a cache as a share of the free memory holds, but no larger than all
// sequences can fill.
engine::EngineLimits limits_for(const Options& options, const model::ModelConfig& config,
                                const ops::Precision& precision) {
  engine::EngineLimits limits{.max_num_seqs = options.max_num_seqs,
                              .max_tokens_per_step = options.max_tokens_per_step,
                              .max_model_len = options.max_model_len,
                              .kv_cache_tokens = options.kv_cache_tokens,
                              .prefix_caching = options.prefix_caching,
                              .num_speculative_tokens = options.num_speculative_tokens};
  if (options.speculation == "ngram") limits.speculation = engine::Speculation::kNgram;
  if (options.speculation == "mtp") limits.speculation = engine::Speculation::kMtp;
  const int64_t longest = config.max_position_embeddings;
  if (limits.max_model_len == 0) limits.max_model_len = longest;
  if (limits.kv_cache_tokens == 0) {
    const int64_t token_bytes = engine::KvCache::bytes(config, 1, precision.cache_format());
    const auto room =
        static_cast<int64_t>(options.memory_fraction * static_cast<double>(available_memory_bytes()));
    limits.kv_cache_tokens = std::min(room / 2 / token_bytes, limits.max_model_len * limits.max_num_seqs);
  }
  limits.max_model_len = std::min(limits.max_model_len, limits.kv_cache_tokens);
  return limits;
}

void serve(const Options& options) {
  const std::string folder = model_folder(options.run.model);
  const auto service = std::make_unique<serve::Service>(complete(options, folder), folder, HADAL_VERSION);
  serve::Server server(*service);
  if (!options.serve.has_keys())
    fmt::print(stderr, "hadal: no keys: whoever can reach this address may use the server\n");
  fmt::print(stderr, "hadal: listening on {}, loading {}\n", server.address(), folder);
  engine::EngineLimits limits;
  LoadedModel loaded =
      load(options.run, [&](const model::ModelConfig& config, const ops::Precision& precision) {
        limits = limits_for(options, config, precision);
        return engine::memory_needs(config, limits, precision);
      });
  service->weight_bytes = loaded.model.checkpoint.total_bytes();
  engine::Engine engine(loaded.model, *loaded.pool, loaded.precision, limits);
  engine::EngineLoop loop(engine, options.serve.max_queued);
  service->max_model_len = engine.limits().max_model_len;
  service->max_num_seqs = limits.max_num_seqs;
  service->loop = &loop;
  server.on_signal([&loop] { loop.stop(); }, [&loop] { loop.abort(); });
  auto loading = serve::Stage::kLoading;
  service->stage.compare_exchange_strong(loading, serve::Stage::kReady);
  fmt::print(stderr,
             "hadal: {} is ready at {}: context {}, {} sequences, {} tokens of {} cache ({:.1f} GB)\n",
             service->model_name(), server.address(), service->max_model_len, limits.max_num_seqs,
             limits.kv_cache_tokens, kv_cache_name(loaded.precision.cache_format()),
             static_cast<double>(engine::KvCache::bytes(loaded.model.config, limits.kv_cache_tokens,
                                                        loaded.precision.cache_format())) /
                 1e9);
  loop.run();
  server.finish(std::chrono::seconds(5));
}

void add_log_options(CLI::App& cmd, serve::ServeOptions& s) {
  auto* log =
      cmd.add_option("--request-log", s.request_log, "Append a JSON line for each request to this file");
  cmd.add_flag("--log-prompts", s.log_prompts, "With what the requests say; else nothing of that is logged")
      ->needs(log);
  auto* metrics = cmd.add_flag("!--disable-metrics", s.metrics, "No GET /metrics");
  cmd.add_flag("--metrics-open", s.metrics_open, "GET /metrics without a key")->excludes(metrics);
}

}  // namespace

void add_serve(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* cmd = app.add_subcommand("serve", "Serve the model over HTTP: OpenAI's and DeepSeek's API");
  add_run_options(*cmd, options->run);
  serve::ServeOptions& s = options->serve;
  cmd->add_option("--host", s.host, "Address to listen on; one that others can reach needs keys")
      ->capture_default_str();
  cmd->add_option("--port", s.port, "0: any free one")->capture_default_str()->check(number_from(0, 65535));
  cmd->add_option("--uds", s.unix_socket, "Listen on this Unix socket instead");
  repeatable(cmd->add_option("--served-model-name", s.served_names,
                             "Names of the model; the first is its id (default: the folder's)"));
  cmd->add_flag("--strict-model-name", s.strict_model_name, "404 for requests that name another model");
  repeatable(cmd->add_option("--api-key", s.api_keys, "A key that requests must have; repeatable"));
  repeatable(cmd->add_option("--allowed-host", s.allowed_hosts,
                             "A name of this machine's that requests without keys may use"));
  cmd->add_option("--ssl-certfile", s.ssl_certfile, "TLS: certificate chain, PEM; read again at SIGHUP");
  cmd->add_option("--ssl-keyfile", s.ssl_keyfile, "TLS: private key, PEM");
  cmd->add_option("--threads-http", s.http_threads, "Threads for connections")
      ->capture_default_str()
      ->check(number_from(1, 256));
  cmd->add_option("--max-num-seqs,--max-running-requests,--parallel", options->max_num_seqs,
                  "Requests that run together at most")
      ->capture_default_str()
      ->check(number_from(1, 4096));
  cmd->add_option("-c,--max-model-len,--context-length,--ctx-size", options->max_model_len,
                  "Tokens of prompt and answer together at most (default: the model's)")
      ->check(number_from(2, kMostTokens));
  cmd->add_option("--max-num-batched-tokens,--chunked-prefill-size", options->max_tokens_per_step,
                  "Tokens computed in one step at most")
      ->capture_default_str()
      ->check(number_from(1, 1 << 20));
  cmd->add_option("--kv-cache-tokens,--max-total-tokens", options->kv_cache_tokens,
                  "Size of the cache (default: by the free memory)")
      ->check(number_from(1, kMostTokens));
  cmd->add_option("--mem-fraction-static", options->memory_fraction,
                  "Share of the free memory for cache and scratch")
      ->capture_default_str()
      ->check(number_above(0, 1));
  cmd->add_option("--max-queued-requests", s.max_queued, "Requests that wait at most; one more gets 429")
      ->capture_default_str()
      ->check(number_from(0, 1 << 20));
  cmd->add_flag("--enable-prefix-caching,!--disable-radix-cache,!--no-enable-prefix-caching",
                options->prefix_caching, "Share the computed beginnings of prompts (default)");
  cmd->add_option("--speculative-algorithm", options->speculation,
                  "Drafts: mtp, ngram or off; answers stay the same, bit by bit")
      ->capture_default_str()
      ->check(CLI::IsMember({"off", "ngram", "mtp"}, CLI::ignore_case));
  cmd->add_option("--speculative-num-draft-tokens", options->num_speculative_tokens,
                  "Drafts at a time, by n-gram")
      ->capture_default_str()
      ->check(number_from(1, 16));
  cmd->add_option("--sse-keepalive", options->keepalive, "Seconds of silence before a comment line; 0: none")
      ->capture_default_str()
      ->check(number_from(0, 86400));
  cmd->add_option("--drain-timeout", options->drain_timeout, "Seconds that answers may take after SIGTERM")
      ->capture_default_str()
      ->check(number_from(0, 86400));
  add_log_options(*cmd, s);
  cmd->add_option("--max-body-bytes", s.max_body_bytes, "Size of a request at most")
      ->capture_default_str()
      ->check(number_from(1024, 1 << 30));
  cmd->callback([options] { serve(*options); });
}

}  // namespace hadal::cli
