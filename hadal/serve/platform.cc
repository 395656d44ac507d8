// The platform: what an account is told about itself, and what an administrator does with keys.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/accounts.h"
#include "hadal/serve/endpoint_rules.h"
#include "hadal/serve/routes.h"

namespace hadal::serve {
namespace {

Accounts& accounts_of(const Service& service) {
  if (service.accounts) return *service.accounts;
  throw ApiError(404, "This server has no accounts: it was started without --accounts.");
}

std::optional<int64_t> day_in(const Exchange& http, std::string_view name) {
  const auto text = http.request().parameter(name);
  if (!text) return std::nullopt;
  const auto day = parse_day(*text);
  if (!day)
    throw ApiError(422, fmt::format("{}: expected a day such as 2025-12-31", name), std::string(name));
  return day;
}

// "/api/platform/keys/ID/revoke": the ID.
std::string id_in(const Exchange& http) {
  std::string_view path = http.request().path;
  path.remove_prefix(std::string_view("/api/platform/keys/").size());
  return std::string(path.substr(0, path.find('/')));
}

// What the body names. Null is a limit taken away.
void read_spec(const json& body, const FieldReader& fields, KeySpec& spec) {
  if (const auto name = fields.string("name")) spec.name = *name;
  if (const auto role = fields.string("role")) {
    if (role != "user" && role != "admin") fields.refuse(422, "role", "expected user or admin");
    spec.role = role == "admin" ? Role::kAdmin : Role::kUser;
  }
  if (body.contains("models")) spec.models = fields.strings("models");
  const auto read_number = [&](const char* name, std::optional<int64_t>& value) {
    if (body.contains(name)) value = fields.integer(name);
  };
  read_number("requests_per_minute", spec.limits.requests_per_minute);
  read_number("tokens_per_minute", spec.limits.tokens_per_minute);
  read_number("concurrent_requests", spec.limits.concurrent_requests);
  read_number("monthly_tokens", spec.limits.monthly_tokens);
  read_number("expires", spec.expires);
}

KeySpec read_new_spec(const json& body) {
  const FieldReader fields(body, key_rules());
  KeySpec spec;
  read_spec(body, fields, spec);
  if (const auto amount = fields.string("balance")) {
    spec.balance = parse_amount(*amount, kMaxAmount);
    if (!spec.balance) fields.refuse(422, "balance", "expected an amount such as \"12.50\"");
  }
  return spec;
}

}  // namespace

// DeepSeek's. Without accounts nobody runs out of anything.
asio::awaitable<void> user_balance(Exchange& http, Service& service) {
  const json unlimited{{"is_available", true}, {"balance_infos", json::array()}};
  const json body = http.account() ? accounts_of(service).balance(http.account()->id) : unlimited;
  co_await http.send_json(body);
}

asio::awaitable<void> platform_me(Exchange& http, Service& service) {
  static_cast<void>(accounts_of(service));
  if (!http.account()) throw ApiError(404, "This key is the server's own and has no account.");
  const json body = to_json(*http.account());
  co_await http.send_json(body);
}

asio::awaitable<void> platform_usage(Exchange& http, Service& service) {
  UsageFilter filter{.from_day = day_in(http, "from"), .to_day = day_in(http, "to")};
  if (!is_admin(http) || http.request().parameter("all") != "1") {
    if (!http.account()) throw ApiError(404, "This key is the server's own and has no account.");
    filter.key = http.account()->id;
  }
  Accounts& accounts = accounts_of(service);
  const auto rows = accounts.usage(filter);
  if (http.request().parameter("format") == "csv") {
    const std::string csv = usage_csv(rows, accounts.currency());
    co_await http.send(200, "text/csv; charset=utf-8", csv);
    co_return;
  }
  json body{{"days", json::array()}, {"currency", accounts.currency()}};
  for (const UsageRow& row : rows) body["days"].push_back(to_json(row));
  co_await http.send_json(body);
}

asio::awaitable<void> platform_prices(Exchange& http, Service& service) {
  Accounts& accounts = accounts_of(service);
  json body{{"currency", accounts.currency()}, {"models", json::array()}};
  for (const auto& [model, price] : accounts.prices()) {
    body["models"].push_back({{"model", model},
                              {"cache_hit", format_amount(price.cache_hit)},
                              {"cache_miss", format_amount(price.cache_miss)},
                              {"output", format_amount(price.output)}});
  }
  co_await http.send_json(body);
}

asio::awaitable<void> platform_keys(Exchange& http, Service& service) {
  json body{{"keys", json::array()}};
  for (const Account& account : accounts_of(service).list()) body["keys"].push_back(to_json(account));
  co_await http.send_json(body);
}

asio::awaitable<void> platform_create_key(Exchange& http, Service& service) {
  const json wanted = parse_body(http.request().body);
  const auto [account, secret] = accounts_of(service).create(read_new_spec(wanted), Time::now());
  const json body{{"id", account.id}, {"secret", secret}};
  co_await http.send_json(body);
}

asio::awaitable<void> platform_update_key(Exchange& http, Service& service) {
  const json wanted = parse_body(http.request().body);
  if (wanted.contains("balance"))
    throw ApiError(422, "balance: expected nothing, it is changed by hadal keys topup", "balance");
  const FieldReader fields(wanted, key_change_rules());
  const Account account =
      accounts_of(service).update(id_in(http), [&](KeySpec& spec) { read_spec(wanted, fields, spec); });
  const json body = to_json(account);
  co_await http.send_json(body);
}

asio::awaitable<void> platform_revoke_key(Exchange& http, Service& service) {
  const std::string id = id_in(http);
  accounts_of(service).revoke(id, Time::now());
  const json body{{"id", id}};
  co_await http.send_json(body);
}

asio::awaitable<void> platform_rotate_key(Exchange& http, Service& service) {
  const std::string id = id_in(http);
  const json body{{"id", id}, {"secret", accounts_of(service).rotate(id)}};
  co_await http.send_json(body);
}

}  // namespace hadal::serve
