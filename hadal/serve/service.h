#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hadal/engine/engine_loop.h"
#include "hadal/model/config.h"
#include "hadal/model/generation_config.h"
#include "hadal/serve/aside.h"
#include "hadal/serve/exchange.h"
#include "hadal/serve/grammar_cache.h"
#include "hadal/serve/json_lines.h"
#include "hadal/serve/metrics.h"
#include "hadal/serve/record.h"
#include "hadal/serve/response_store.h"
#include "hadal/text/chat_template.h"
#include "hadal/text/template_traits.h"
#include "hadal/text/tokenizer.h"

namespace hadal::serve {

class Accounts;

/// What the command line, the configuration file and the environment say about the server (docs/server.md).
struct ServeOptions {
  std::string host = "127.0.0.1";
  int port = 8000;
  std::string unix_socket;                // instead of host and port
  std::vector<std::string> served_names;  // the first is the model's id
  std::string chat_template;              // a file, or the text itself; "": the checkpoint's
  std::optional<int64_t> seed;            // of requests that name none; none: another one for each
  bool strict_model_name = false;         // 404 for other names
  std::vector<std::string> api_keys;      // none: open, on this machine only
  std::vector<std::string>
      allowed_hosts;  // names besides this machine's that Host may have when there are no keys
  std::string ssl_certfile, ssl_keyfile;
  int http_threads = 2;
  int64_t max_body_bytes = 8 << 20;
  int64_t max_queued = 1024;
  std::chrono::seconds sse_keepalive{30};            // of silence, before a comment line; 0: never
  std::chrono::seconds drain_timeout{30};            // for running answers after SIGTERM
  std::string accounts_db;                           // keys, limits and balances; "": none
  std::chrono::duration<double> request_timeout{0};  // from arrival to the answer's end; 0: none
  std::string request_log;                           // JSON lines, appended; "": none
  std::string record;                                // the same, with all that a replay needs
  bool log_prompts = false;                          // the request log has the bodies of requests
  bool metrics = true;                               // GET /metrics
  bool metrics_open = false;                         // without a key, too

  bool has_keys() const { return !api_keys.empty() || !accounts_db.empty(); }
};

enum class Stage : uint8_t { kLoading, kReady, kDraining };

/// Tokens a second since the last look at the engine's counts. Any thread.
class SpeedMeter {
 public:
  /// To be called often: whenever tokens come, and when somebody asks. Looks at most twice a second, so it is cheap; and an engine
  /// that was idle is soon known to be.
  void see(const engine::EngineLoop& loop, std::chrono::steady_clock::time_point now);
  void see(const engine::EngineStats& stats, std::chrono::steady_clock::time_point now);
  double generated_per_s() const { return generated_; }
  double prompt_per_s() const { return prompt_; }

 private:
  std::mutex mutex_;  // of what follows, up to the speeds
  std::chrono::steady_clock::time_point last_{};
  int64_t last_generated_ = 0, last_prompt_ = 0;
  std::atomic<double> generated_{0.0}, prompt_{0.0};
};

/// What every handler may use. Made before the server listens; only `loop`, `stage` and the numbers change after that, and
/// everything is safe to use from any thread.
struct Service {
  /// Reads all of the checkpoint but its weights. Throws what that throws; a checkpoint without a chat template is a warning.
  Service(ServeOptions options, const std::string& folder, std::string version);
  ~Service();

  ServeOptions options;
  std::string folder;  // the checkpoint's
  model::ModelConfig config;
  model::GenerationConfig defaults;
  text::Tokenizer tokenizer;
  GrammarCache grammars;
  std::optional<text::ChatTemplate> chat_template;
  text::TemplateTraits traits;
  std::string version;
  int64_t num_params = 0, weight_bytes = 0;
  int64_t max_model_len = 0, max_num_seqs = 0;
  std::vector<int32_t> stop_token_ids;
  std::string fingerprint;  // of checkpoint and program: same fingerprint, same seed, same answer

  Aside aside;
  ResponseStore responses;
  SpeedMeter speed;
  std::unique_ptr<Accounts> accounts;  // null: none
  Metrics metrics;
  JsonLines request_log, record;
  ModelIdentity identity;  // for the record; known when the model is loaded
  std::atomic<engine::EngineLoop*> loop{nullptr};
  std::atomic<Stage> stage{Stage::kLoading};
  std::atomic<double> load_progress{0.0};
  std::chrono::system_clock::time_point started = std::chrono::system_clock::now();

  const std::string& model_name() const { return options.served_names.front(); }
  /// Before the request is submitted: its grammar is compiled, aside unless it was lately. Throws kRequest.
  asio::awaitable<void> prepare(const Submission& request);
  /// Throws ApiError 503 while there is no engine to ask.
  engine::EngineLoop& engine() const;
  /// The end of a request, for metrics and logs.
  void log_request(const Exchange& http, std::chrono::steady_clock::duration time);
};

/// Seconds since 1970, as answers have them.
int64_t unix_time();

/// "req-" and 128 random bits.
std::string new_request_id();
/// The client's X-Request-Id if it is one that a log can take, else a new one.
std::string request_id_for(const HttpRequest& request);
/// The prefix and 96 random bits: ids of answers and calls.
std::string random_id(std::string_view prefix);

}  // namespace hadal::serve
