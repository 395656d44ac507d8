#include "hadal/serve/service.h"

#include <algorithm>
#include <array>
#include <cctype>

#include <fmt/format.h>
#include <openssl/rand.h>

#include "hadal/core/log.h"
#include "hadal/model/model_size.h"
#include "hadal/serve/accounts.h"
#include "hadal/serve/api_error.h"
#include "hadal/serve/request_log.h"

namespace hadal::serve {
namespace {

constexpr std::chrono::milliseconds kBetweenLooks{500};  // at the engine's counts

template <size_t kBytes>
std::string random_hex() {
  std::array<unsigned char, kBytes> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(kBytes)) != 1)
    fail(ErrorKind::kIo, "random numbers\n  the system gives none");
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}

}  // namespace

void SpeedMeter::see(const engine::EngineLoop& loop, std::chrono::steady_clock::time_point now) {
  {
    const std::lock_guard lock(mutex_);
    if (now - last_ < kBetweenLooks) return;  // without waiting for the engine
  }
  see(loop.stats(), now);
}

void SpeedMeter::see(const engine::EngineStats& stats, std::chrono::steady_clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (now - last_ < kBetweenLooks) return;
  const double seconds = std::chrono::duration<double>(now - last_).count();
  if (last_ != std::chrono::steady_clock::time_point() && seconds > 0.0) {
    generated_ = static_cast<double>(stats.generated_tokens - last_generated_) / seconds;
    prompt_ = static_cast<double>(stats.prompt_tokens - last_prompt_) / seconds;
  }
  last_ = now;
  last_generated_ = stats.generated_tokens;
  last_prompt_ = stats.prompt_tokens;
}

Service::Service(ServeOptions serve_options, const std::string& checkpoint, std::string program_version)
    : options(std::move(serve_options)),
      folder(checkpoint),
      config(model::load_config(folder)),
      defaults(model::load_generation_config(folder, config)),
      tokenizer(text::Tokenizer::load(folder)),
      grammars(tokenizer),
      version(std::move(program_version)),
      num_params(model::implied_size(config).total_params),
      fingerprint("fp_hadal_" + version),
      aside(options.http_threads),
      metrics(options.served_names.front()),
      request_log(options.request_log, "logged"),
      record(options.record, "recorded") {
  try {
    chat_template.emplace(text::ChatTemplate::load(folder, options.chat_template));
    traits = text::find_traits(*chat_template);
  } catch (const Error& e) {
    if (!options.chat_template.empty()) throw;
    log_warning("/v1/chat/completions will refuse: {}", e.what());
  }
  for (const int64_t id : defaults.eos_token_ids) stop_token_ids.push_back(static_cast<int32_t>(id));
  if (!options.accounts_db.empty()) accounts = Accounts::open(options.accounts_db, {.serves = true});
  const auto eos = tokenizer.eos_token_id();
  if (eos && std::ranges::find(stop_token_ids, *eos) == stop_token_ids.end()) stop_token_ids.push_back(*eos);
}

Service::~Service() = default;

asio::awaitable<void> Service::prepare(const Submission& request) {
  if (!request.constraint || grammars.has(*request.constraint)) co_return;
  auto compile = [&] { static_cast<void>(grammars.get(*request.constraint)); };
  co_await aside.run(compile);
}

engine::EngineLoop& Service::engine() const {
  if (stage == Stage::kReady) return *loop;
  ApiError error(503, stage == Stage::kLoading ? "Loading model" : "The server is about to end.");
  error.retry_after = 2;
  throw error;
}

void Service::log_request(const Exchange& http, std::chrono::steady_clock::duration time) {
  metrics.count_http(http.route, http.final_status());
  log_info("{} {} {} {} {:.1f} ms {} bytes", http.id(), http.method_name(), http.route, http.final_status(),
           std::chrono::duration<double, std::milli>(time).count(), http.bytes_sent());
  if (request_log.is_on()) request_log.write(request_record(http, model_name(), time, options.log_prompts));
}

int64_t unix_time() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

std::string new_request_id() {
  return "req-" + random_hex<16>();
}

std::string request_id_for(const HttpRequest& request) {
  constexpr size_t kLongest = 128;
  const std::string_view given = request.field("x-request-id");
  const bool good =
      !given.empty() && given.size() <= kLongest && std::ranges::all_of(given, [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
      });
  return good ? std::string(given) : new_request_id();
}

std::string random_id(std::string_view prefix) {
  return std::string(prefix) + random_hex<12>();
}

}  // namespace hadal::serve
