// What the website and monitors ask again and again: the server's numbers.
#include <nlohmann/json.hpp>

#include "hadal/serve/routes.h"

namespace hadal::serve {
namespace {

const char* thinking_name(text::Thinking thinking) {
  switch (thinking) {
    case text::Thinking::kAlways:
      return "always";
    case text::Thinking::kSwitch:
      return "optional";
    case text::Thinking::kModel:
      break;
  }
  return "none";
}

// The layers with a router, by number; the MTP module's comes last, if it is used.
json expert_counts(const Service& service, const engine::EngineLoop& loop) {
  const ops::ExpertCounter& counter = loop.experts();
  const bool drafts = loop.limits().speculation == engine::Speculation::kMtp;
  const int64_t num_layers = drafts ? counter.num_layers() : service.config.num_hidden_layers;
  json layers = json::array();
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    if (!service.config.is_moe_layer(layer)) continue;
    layers.push_back({{"layer", layer}, {"counts", counter.layer(layer)}});
  }
  return layers;
}

}  // namespace

asio::awaitable<void> metrics(Exchange& http, Service& service) {
  if (!service.options.metrics) throw ApiError(404, "This server has no metrics (--disable-metrics).");
  std::string text;
  if (service.stage == Stage::kReady) {
    const engine::EngineStats stats = service.engine().stats();
    text = service.metrics.text(&stats);
  } else {
    text = service.metrics.text(nullptr);
  }
  co_await http.send(200, "text/plain; version=0.0.4; charset=utf-8", text);
}

asio::awaitable<void> api_info(Exchange& http, Service& service) {
  const json body{{"version", service.version},
                  {"model",
                   {{"id", service.model_name()},
                    {"context_length", service.max_model_len},
                    {"thinking", thinking_name(service.traits.thinking)}}},
                  {"auth", service.options.has_keys()},
                  {"accounts", service.accounts != nullptr},
                  {"defaults",
                   {{"temperature", service.defaults.temperature},
                    {"top_p", service.defaults.top_p},
                    {"max_tokens", nullptr}}}};
  co_await http.send_json(body);
}

asio::awaitable<void> api_status(Exchange& http, Service& service) {
  const engine::EngineLoop& loop = service.engine();
  const engine::EngineStats stats = loop.stats();
  service.speed.see(loop, std::chrono::steady_clock::now());
  const std::chrono::duration<double> uptime = std::chrono::system_clock::now() - service.started;
  json body{
      {"uptime_s", uptime.count()},
      {"running", stats.running},
      {"waiting", stats.waiting},
      {"max_num_seqs", service.max_num_seqs},
      {"max_queued", service.options.max_queued},
      {"kv_pages",
       {{"total", stats.pages_total},
        {"used", stats.pages_used},
        {"cached", stats.pages_cached},
        {"page_size", engine::Engine::kPageSize}}},
      {"prefix_cache",
       {{"query_tokens", stats.prefix_query_tokens}, {"hit_tokens", stats.prefix_hit_tokens}}},
      {"speculation", nullptr},
      {"tokens",
       {{"prompt", stats.prompt_tokens + stats.prefix_hit_tokens}, {"generated", stats.generated_tokens}}},
      {"tok_s", {{"prompt", service.speed.prompt_per_s()}, {"generated", service.speed.generated_per_s()}}},
      {"experts", expert_counts(service, loop)}};
  if (loop.limits().speculation != engine::Speculation::kOff)
    body["speculation"] = {{"drafted", stats.drafted_tokens}, {"accepted", stats.accepted_tokens}};
  co_await http.send_json(body);
}

}  // namespace hadal::serve
