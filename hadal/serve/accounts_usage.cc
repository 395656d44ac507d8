// What was used and what is left, as people and programs read it.
#include <chrono>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/accounts_rows.h"

namespace hadal::serve {
namespace {

// A cell of RFC 4180.
std::string cell(const std::string& text) {
  if (text.find_first_of("\",\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

json or_null(const std::optional<int64_t>& value) {
  return value ? json(*value) : json(nullptr);
}

}  // namespace

int64_t day_of(std::chrono::system_clock::time_point time) {
  return std::chrono::floor<std::chrono::days>(time).time_since_epoch().count();
}

std::optional<int64_t> parse_day(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return std::nullopt;
  const auto number = [&](size_t from, size_t count) {
    int value = 0;
    for (const char c : text.substr(from, count)) {
      if (c < '0' || c > '9') return -1;
      value = value * 10 + (c - '0');
    }
    return value;
  };
  const int year = number(0, 4), month = number(5, 2), day = number(8, 2);
  if (year < 0 || month < 0 || day < 0) return std::nullopt;
  const std::chrono::year_month_day date(std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day)));
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days(date).time_since_epoch().count();
}

std::string format_day(int64_t day) {
  const std::chrono::year_month_day date{std::chrono::sys_days(std::chrono::days(day))};
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()));
}

json Accounts::balance(const std::string& id) {
  const Account account = find(id);
  if (!account.spec.balance) return {{"is_available", true}, {"balance_infos", json::array()}};
  const int64_t total = *account.spec.balance;
  json info{{"currency", currency()},
            {"total_balance", format_balance(total)},
            {"granted_balance", format_balance(account.granted)},
            {"topped_up_balance", format_balance(total - account.granted)}};
  return {{"is_available", total > 0}, {"balance_infos", json::array({std::move(info)})}};
}

std::vector<UsageRow> Accounts::usage(const UsageFilter& filter) {
  std::vector<UsageRow> rows;
  read([&](Connection& db) {
    Query row = db.query(
        "SELECT day, key_id, name, model, requests, hit_tokens, miss_tokens, completion_tokens, cost "
        "FROM usage JOIN keys ON keys.id = key_id WHERE (?1 IS NULL OR day >= ?1) AND (?2 IS NULL OR day <= "
        "?2) "
        "AND (?3 = '' OR key_id = ?3) AND (?4 = '' OR model = ?4) ORDER BY day, created, key_id, model",
        filter.from_day, filter.to_day, filter.key, filter.model);
    while (row.next()) {
      rows.push_back({row.integer(0),
                      row.text(1),
                      row.text(2),
                      row.text(3),
                      row.integer(4),
                      {row.integer(5), row.integer(6), row.integer(7)},
                      row.integer(8)});
    }
  });
  return rows;
}

json to_json(const Account& account) {
  const KeyLimits& limits = account.spec.limits;
  const auto& balance = account.spec.balance;
  return {{"id", account.id},
          {"name", account.spec.name},
          {"role", account.spec.role == Role::kAdmin ? "admin" : "user"},
          {"models", account.spec.models},
          {"requests_per_minute", or_null(limits.requests_per_minute)},
          {"tokens_per_minute", or_null(limits.tokens_per_minute)},
          {"concurrent_requests", or_null(limits.concurrent_requests)},
          {"monthly_tokens", or_null(limits.monthly_tokens)},
          {"balance", balance ? json(format_amount(*balance)) : json(nullptr)},
          {"granted", format_amount(account.granted)},
          {"created", account.created},
          {"expires", or_null(account.spec.expires)},
          {"revoked", or_null(account.revoked)}};
}

json to_json(const UsageRow& row) {
  return {{"day", format_day(row.day)},
          {"key", row.key},
          {"name", row.name},
          {"model", row.model},
          {"requests", row.requests},
          {"prompt_cache_hit_tokens", row.usage.prompt_cache_hit_tokens},
          {"prompt_cache_miss_tokens", row.usage.prompt_cache_miss_tokens},
          {"completion_tokens", row.usage.completion_tokens},
          {"cost", format_amount(row.cost)}};
}

std::string usage_csv(const std::vector<UsageRow>& rows, const std::string& currency) {
  std::string text =
      "day,key,name,model,requests,prompt_cache_hit_tokens,prompt_cache_miss_tokens,completion_tokens,cost,"
      "currency\r\n";
  for (const UsageRow& row : rows) {
    text += fmt::format("{},{},{},{},{},{},{},{},{},{}\r\n", format_day(row.day), row.key, cell(row.name),
                        cell(row.model), row.requests, row.usage.prompt_cache_hit_tokens,
                        row.usage.prompt_cache_miss_tokens, row.usage.completion_tokens,
                        format_amount(row.cost), cell(currency));
  }
  return text;
}

}  // namespace hadal::serve
