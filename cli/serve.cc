// hadal serve: the model behind HTTP. The server answers from the first moment, if only that the model is being loaded; this
// thread loads it and then runs the engine.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/serve_options.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "hadal/core/error.h"
#include "hadal/core/log.h"
#include "hadal/engine/engine_loop.h"
#include "hadal/serve/server.h"

namespace hadal::cli {
namespace {

std::string base_name(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

// The options as the server takes them, with what they leave open.
serve::ServeOptions complete(const ServeFlags& options, const std::string& folder) {
  serve::ServeOptions s = options.serve;
  if (s.served_names.empty())
    s.served_names = {base_name(options.run.model.empty() ? folder : options.run.model)};
  s.sse_keepalive = std::chrono::seconds(options.keepalive);
  s.drain_timeout = std::chrono::seconds(options.drain_timeout);
  return s;
}

// As long a context as the model has, and as large a cache as a share of the free memory holds, but no larger than all
// sequences can fill.
engine::EngineLimits limits_for(const ServeFlags& options, const model::ModelConfig& config,
                                const ops::Precision& precision) {
  engine::EngineLimits limits{.max_num_seqs = options.max_num_seqs,
                              .max_tokens_per_step = options.max_tokens_per_step,
                              .max_model_len = options.max_model_len,
                              .kv_cache_tokens = options.kv_cache_tokens,
                              .prefix_caching = options.prefix_caching,
                              .cache_answers = options.cache_answers,
                              .num_speculative_tokens = options.num_speculative_tokens};
  limits.kv_cache_folder = options.kv_cache_dir;
  limits.kv_cache_folder_bytes = static_cast<int64_t>(options.kv_cache_dir_gb * 1e9);
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

void serve(const ServeFlags& options) {
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
  if (service->record.is_on())
    service->identity = serve::identify(loaded.model, loaded.precision, service->model_name());
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

}  // namespace

void add_serve(CLI::App& app) {
  auto options = std::make_shared<ServeFlags>();
  CLI::App* cmd = app.add_subcommand("serve", "Serve the model over HTTP: OpenAI's and DeepSeek's API");
  add_serve_flags(*cmd, *options);
  cmd->callback([options, cmd] {
    if (!options->config.empty()) read_config(*cmd, options->config);
    for (const std::string& flag : options->ignored) log_warning("{} means nothing here", flag);
    if (options->cache_answers && !(options->kv_cache_dir.empty() && options->serve.record.empty())) {
      fail(ErrorKind::kUsage,
           "--cache-answers\n  expected  neither --kv-cache-dir nor --record beside it\n"
           "  hint      both promise the same bits again, which an answer's pages do not have");
    }
    serve(*options);
  });
}

}  // namespace hadal::cli
