#pragma once

#include <span>
#include <string_view>

#include <boost/asio/awaitable.hpp>

#include "hadal/serve/api_error.h"
#include "hadal/serve/exchange.h"
#include "hadal/serve/service.h"

namespace hadal::serve {

/// Who may ask: anybody, whoever has a key, or an administrator. Without keys everybody on this machine is all of them. kMetrics:
/// as kKey, because counts tell how a server is used and by what; with --metrics-open as kOpen, for a Prometheus without keys.
enum class Access : uint8_t { kOpen, kKey, kAdmin, kMetrics };

using Handler = asio::awaitable<void> (*)(Exchange&, Service&);

struct Route {
  std::string_view method,
      path;  // the path may end in "/*": anything after that; "/*/" is one name in its middle
  Handler handler;
  Access access = Access::kKey;
};

/// All of them. What is not here does not exist; what is here is refused without a key unless it says kOpen.
std::span<const Route> routes();

/// True if the route needs no key here.
bool is_open(const Route& route, const ServeOptions& options);

/// The document that describes all routes (OpenAPI 3.1), made of them and of the tables of fields.
json openapi_document(const Service& service);

/// Finds the route, checks who asks, and answers. Throws ApiError.
asio::awaitable<void> handle(Exchange& http, Service& service);

/// Whether the one who asks may administer: an administrator's key, or one of the server's own; without keys everybody.
bool is_admin(const Exchange& http);

/// As the endpoint's clients read errors; at the end of a stream when it has begun.
asio::awaitable<void> send_error(Exchange& http, const ApiError& error);

// The handlers, by file.
asio::awaitable<void> chat_completions(Exchange& http, Service& service);
asio::awaitable<void> completions(Exchange& http, Service& service);
asio::awaitable<void> sglang_generate(Exchange& http, Service& service);
asio::awaitable<void> messages(Exchange& http, Service& service);
asio::awaitable<void> count_message_tokens(Exchange& http, Service& service);
asio::awaitable<void> responses(Exchange& http, Service& service);
asio::awaitable<void> get_response(Exchange& http, Service& service);
asio::awaitable<void> delete_response(Exchange& http, Service& service);
asio::awaitable<void> list_models(Exchange& http, Service& service);
asio::awaitable<void> get_model(Exchange& http, Service& service);
asio::awaitable<void> tokenize(Exchange& http, Service& service);
asio::awaitable<void> detokenize(Exchange& http, Service& service);
asio::awaitable<void> tokenizer_info(Exchange& http, Service& service);
asio::awaitable<void> health(Exchange& http, Service& service);
asio::awaitable<void> ready(Exchange& http, Service& service);
asio::awaitable<void> version(Exchange& http, Service& service);
asio::awaitable<void> model_info(Exchange& http, Service& service);
asio::awaitable<void> server_info(Exchange& http, Service& service);
asio::awaitable<void> flush_cache(Exchange& http, Service& service);
asio::awaitable<void> web_page(Exchange& http, Service& service);
asio::awaitable<void> user_balance(Exchange& http, Service& service);
asio::awaitable<void> platform_me(Exchange& http, Service& service);
asio::awaitable<void> platform_usage(Exchange& http, Service& service);
asio::awaitable<void> platform_prices(Exchange& http, Service& service);
asio::awaitable<void> platform_keys(Exchange& http, Service& service);
asio::awaitable<void> platform_create_key(Exchange& http, Service& service);
asio::awaitable<void> platform_update_key(Exchange& http, Service& service);
asio::awaitable<void> platform_revoke_key(Exchange& http, Service& service);
asio::awaitable<void> platform_rotate_key(Exchange& http, Service& service);
asio::awaitable<void> metrics(Exchange& http, Service& service);
asio::awaitable<void> openapi(Exchange& http, Service& service);
asio::awaitable<void> api_info(Exchange& http, Service& service);
asio::awaitable<void> api_status(Exchange& http, Service& service);

}  // namespace hadal::serve
