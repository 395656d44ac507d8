#include "hadal/serve/routes.h"

#include <algorithm>
#include <array>
#include <cctype>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "hadal/serve/accounts.h"

namespace hadal::serve {
namespace {

constexpr auto kGet = "GET", kPost = "POST", kDelete = "DELETE";

// DeepSeek has its API with and without /v1, and what is new under /beta; clients join paths in all ways.
constexpr Route kRoutes[] = {
    {kPost, "/v1/chat/completions", chat_completions},
    {kPost, "/chat/completions", chat_completions},
    {kPost, "/beta/chat/completions", chat_completions},
    {kPost, "/beta/v1/chat/completions", chat_completions},
    {kPost, "/v1/completions", completions},
    {kPost, "/completions", completions},
    {kPost, "/beta/completions", completions},
    {kPost, "/beta/v1/completions", completions},
    {kPost, "/v1/messages", messages},
    {kPost, "/anthropic/v1/messages", messages},
    {kPost, "/v1/messages/count_tokens", count_message_tokens},
    {kPost, "/anthropic/v1/messages/count_tokens", count_message_tokens},
    {kPost, "/v1/responses", responses},
    {kPost, "/responses", responses},
    {kGet, "/v1/responses/*", get_response},
    {kGet, "/responses/*", get_response},
    {kDelete, "/v1/responses/*", delete_response},
    {kDelete, "/responses/*", delete_response},
    {kPost, "/generate", sglang_generate},
    {kGet, "/v1/models", list_models},
    {kGet, "/models", list_models},
    {kGet, "/beta/models", list_models},
    {kGet, "/v1/models/*", get_model},
    {kGet, "/models/*", get_model},
    {kPost, "/tokenize", tokenize},
    {kPost, "/v1/tokenize", tokenize},
    {kPost, "/detokenize", detokenize},
    {kPost, "/v1/detokenize", detokenize},
    {kGet, "/tokenizer_info", tokenizer_info},
    {kGet, "/model_info", model_info},
    {kGet, "/get_model_info", model_info},
    {kGet, "/server_info", server_info},
    {kGet, "/get_server_info", server_info},
    {kPost, "/flush_cache", flush_cache, Access::kAdmin},
    {kGet, "/flush_cache", flush_cache, Access::kAdmin},
    {kGet, "/user/balance", user_balance},
    {kGet, "/v1/user/balance", user_balance},
    {kGet, "/api/platform/me", platform_me},
    {kGet, "/api/platform/usage", platform_usage},
    {kGet, "/api/platform/prices", platform_prices},
    {kGet, "/api/platform/keys", platform_keys, Access::kAdmin},
    {kPost, "/api/platform/keys", platform_create_key, Access::kAdmin},
    {kPost, "/api/platform/keys/*/update", platform_update_key, Access::kAdmin},
    {kPost, "/api/platform/keys/*/revoke", platform_revoke_key, Access::kAdmin},
    {kPost, "/api/platform/keys/*/rotate", platform_rotate_key, Access::kAdmin},
    {kGet, "/", web_page, Access::kOpen},
    {kGet, "/platform", web_page, Access::kOpen},
    {kGet, "/status", web_page, Access::kOpen},
    {kGet, "/assets/*", web_page, Access::kOpen},
    {kGet, "/health", health, Access::kOpen},
    {kGet, "/v1/health", health, Access::kOpen},
    {kGet, "/ready", ready, Access::kOpen},
    {kGet, "/version", version, Access::kOpen},
    {kGet, "/metrics", metrics, Access::kMetrics},
    {kGet, "/openapi.json", openapi, Access::kOpen},
    {kGet, "/api/info", api_info, Access::kOpen},
    {kGet, "/api/status", api_status},
};

bool matches(const Route& route, std::string_view path) {
  const size_t star = route.path.find('*');
  if (star == std::string_view::npos) return route.path == path;
  const std::string_view before = route.path.substr(0, star), after = route.path.substr(star + 1);
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) || !path.ends_with(after))
    return false;
  const std::string_view name = path.substr(star, path.size() - before.size() - after.size());
  return after.empty() || name.find('/') == std::string_view::npos;
}

using Digest = std::array<unsigned char, SHA256_DIGEST_LENGTH>;

Digest digest(std::string_view text) {
  Digest out{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), out.data());
  return out;
}

std::string_view given_key(const HttpRequest& request) {
  const std::string_view bearer = request.field("authorization");
  if (bearer.size() > 7 && (bearer.starts_with("Bearer ") || bearer.starts_with("bearer ")))
    return bearer.substr(7);
  return request.field("x-api-key");  // Anthropic's
}

// In a time that does not depend on how much of a key is right: digests are compared, and all of them.
bool is_own_key(std::string_view key, const Service& service) {
  const Digest given = digest(key);
  int found = 0;
  for (const std::string& own : service.options.api_keys) {
    const Digest known = digest(own);
    found |= CRYPTO_memcmp(known.data(), given.data(), known.size()) == 0 ? 1 : 0;
  }
  return found != 0;
}

void check_key(Exchange& http, const Service& service) {
  const std::string_view key = given_key(http.request());
  if (!service.options.has_keys() || is_own_key(key, service)) return;
  if (!service.accounts)
    throw ApiError(401, "Authentication Fails: the API key is absent or not one of this server's.");
  http.set_account(std::make_shared<const Account>(service.accounts->authenticate(key, Time::now())));
}

// Without its port, in lower case, which is the same name.
std::string host_name(std::string_view host) {
  std::string name(host.starts_with('[') ? host.substr(0, host.find(']') + 1)
                                         : host.substr(0, host.find(':')));
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

// A page of somebody else's, by a name of its own for this machine (DNS rebinding) or by a form: browsers send both fields.
void check_origin(const Exchange& http, const Service& service) {
  const std::string_view host = http.request().field("host"), origin = http.request().field("origin");
  if (!origin.empty()) {
    const size_t scheme = origin.find("://");
    if (scheme == std::string_view::npos || origin.substr(scheme + 3) != host)
      throw ApiError(403, "Pages of other sites may not use this server.");
  }
  if (service.options.has_keys() || !service.options.unix_socket.empty()) return;
  const std::string name = host_name(host);
  constexpr std::array<std::string_view, 4> kThisMachine{"localhost", "127.0.0.1", "[::1]", ""};
  if (std::ranges::find(kThisMachine, name) != kThisMachine.end() || name == service.options.host) return;
  if (std::ranges::find(service.options.allowed_hosts, name) != service.options.allowed_hosts.end()) return;
  throw ApiError(403, fmt::format("This server is not known as {}.", name));
}

bool is_anthropic(std::string_view path) {
  return path.ends_with("/messages") || path.ends_with("/messages/count_tokens");
}

}  // namespace

bool is_admin(const Exchange& http) {
  return http.account() == nullptr || http.account()->spec.role == Role::kAdmin;
}

std::span<const Route> routes() {
  return kRoutes;
}

bool is_open(const Route& route, const ServeOptions& options) {
  return route.access == Access::kOpen || (route.access == Access::kMetrics && options.metrics_open);
}

asio::awaitable<void> handle(Exchange& http, Service& service) {
  const HttpRequest& request = http.request();
  check_origin(http, service);
  const Route* found = nullptr;
  std::string allowed;
  const std::string_view method = request.method == "HEAD" ? "GET" : std::string_view(request.method);
  for (const Route& route : kRoutes) {
    if (!matches(route, request.path)) continue;
    allowed += (allowed.empty() ? "" : ", ") + std::string(route.method);
    http.route = route.path;
    if (route.method == method) found = &route;
  }
  if (!found || !is_open(*found, service.options)) check_key(http, service);
  if (!found && !allowed.empty()) {
    http.add_field("Allow", allowed);
    throw ApiError(405, fmt::format("{} is not for {}.", request.path, request.method));
  }
  if (!found) throw ApiError(404, fmt::format("There is no {} here.", request.path));
  if (found->access == Access::kAdmin && !is_admin(http))
    throw ApiError(403, "This is for administrators' keys.");
  co_await found->handler(http, service);
}

asio::awaitable<void> send_error(Exchange& http, const ApiError& error) {
  const bool anthropic = is_anthropic(http.request().path);
  const json body = anthropic ? anthropic_error(error) : openai_error(error);
  if (http.began()) {  // the status is out: an event says it
    const std::string text = dump(body);
    const std::string event = anthropic ? sse_event("error", text) : sse_event(text) + sse_event("[DONE]");
    co_await http.send_events(event);
    co_await http.end_sse();
    co_return;
  }
  if (error.retry_after) http.add_field("Retry-After", std::to_string(*error.retry_after));
  if (error.status() == 401) http.add_field("WWW-Authenticate", "Bearer");
  co_await http.send_json(body, anthropic ? anthropic_status(error.status()) : error.status());
}

}  // namespace hadal::serve
