// What clients and monitors ask about the server and its model.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/routes.h"
#include "hadal/text/tokenizer_config.h"

namespace hadal::serve {
namespace {

json model_json(const Service& service, const std::string& name) {
  const auto context = service.max_model_len;
  return {{"id", name},
          {"object", "model"},
          {"created",
           std::chrono::duration_cast<std::chrono::seconds>(service.started.time_since_epoch()).count()},
          {"owned_by", "hadal"},
          {"root", service.folder},
          {"parent", nullptr},
          {"max_model_len", context},
          {"context_length", context},
          {"context_window", context},
          {"permission", json::array()},
          {"meta",
           {{"n_vocab", service.config.vocab_size},
            {"n_ctx_train", service.config.max_position_embeddings},
            {"n_embd", service.config.hidden_size},
            {"n_params", service.num_params},
            {"size", service.weight_bytes}}}};
}

}  // namespace

asio::awaitable<void> list_models(Exchange& http, Service& service) {
  json body{{"object", "list"}, {"data", json::array()}};
  for (const std::string& name : service.options.served_names)
    body["data"].push_back(model_json(service, name));
  co_await http.send_json(body);
}

asio::awaitable<void> get_model(Exchange& http, Service& service) {
  const std::string_view path = http.request().path, prefix = "models/";
  const std::string name(path.substr(path.find(prefix) + prefix.size()));
  for (const std::string& known : service.options.served_names) {
    if (known != name) continue;
    const json body = model_json(service, name);
    co_await http.send_json(body);
    co_return;
  }
  throw ApiError(404, fmt::format("The model `{}` does not exist.", name), "model");
}

// llama.cpp's form. A server that drains is still healthy: it only takes nothing new, which /ready says.
asio::awaitable<void> health(Exchange& http, Service& service) {
  if (service.stage == Stage::kLoading) {
    const json loading{
        {"error", {{"code", 503}, {"message", "Loading model"}, {"type", "unavailable_error"}}},
        {"progress", service.load_progress.load()}};
    http.add_field("Retry-After", "2");
    co_await http.send_json(loading, 503);
    co_return;
  }
  const json body{{"status", service.stage == Stage::kReady ? "ok" : "draining"}};
  co_await http.send_json(body, service.stage == Stage::kReady ? 200 : 503);
}

asio::awaitable<void> ready(Exchange& http, Service& service) {
  static_cast<void>(service.engine());
  const json body{{"status", "ready"}};
  co_await http.send_json(body);
}

asio::awaitable<void> version(Exchange& http, Service& service) {
  const json body{{"version", service.version}};
  co_await http.send_json(body);
}

asio::awaitable<void> model_info(Exchange& http, Service& service) {
  const json body{{"model_path", service.folder},
                  {"tokenizer_path", service.folder},
                  {"is_generation", true},
                  {"served_model_name", service.model_name()},
                  {"max_model_len", service.max_model_len},
                  {"model_type", service.config.model_type}};
  co_await http.send_json(body);
}

// SGLang's bench reads internal_states. Nothing of the command line is here: there are keys in it.
asio::awaitable<void> server_info(Exchange& http, Service& service) {
  const engine::EngineStats stats = service.engine().stats();
  service.speed.see(stats, std::chrono::steady_clock::now());
  const json body{{"version", service.version},
                  {"served_model_name", service.model_name()},
                  {"max_model_len", service.max_model_len},
                  {"max_running_requests", service.max_num_seqs},
                  {"max_total_num_tokens", stats.pages_total * engine::Engine::kPageSize},
                  {"internal_states", json::array({{{"last_gen_throughput", service.speed.generated_per_s()},
                                                    {"num_running_reqs", stats.running},
                                                    {"num_queue_reqs", stats.waiting}}})}};
  co_await http.send_json(body);
}

asio::awaitable<void> flush_cache(Exchange& http, Service& service) {
  service.engine().forget_prefixes();
  co_await http.send(200, "text/plain; charset=utf-8", "Cache flushed.\n");
}

// The tokenizer_config.json; lm-eval reads eos_token and chat_template of it.
asio::awaitable<void> tokenizer_info(Exchange& http, Service& service) {
  json body = text::read_tokenizer_config(service.folder);
  for (const char* name : {"bos_token", "eos_token", "pad_token"}) {
    const auto token = text::special_token(body, name);
    body[name] = token ? json(*token) : json();
  }
  if (!body.contains("tokenizer_class")) body["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (!service.options.chat_template.empty()) body["chat_template"] = service.chat_template->source();
  co_await http.send_json(body);
}

}  // namespace hadal::serve
