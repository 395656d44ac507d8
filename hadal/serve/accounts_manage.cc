// Keys and prices: what an administrator does.
#include <algorithm>
#include <chrono>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/accounts_key.h"
#include "hadal/serve/accounts_rows.h"
#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

constexpr size_t kMaxNameBytes = 128;
constexpr int64_t kMaxLimit = 1'000'000'000'000;                          // of a rate or quota
constexpr int64_t kPrunedAtOnce = 500;                                    // rows
constexpr const char* kGiveBackPages = "PRAGMA incremental_vacuum(200)";  // more than so many rows leave
constexpr std::string_view kOneAccount =
    "SELECT id, name, role, models, requests_per_minute, tokens_per_minute, concurrent_requests, "
    "monthly_tokens, "
    "granted, topped_up, created, expires, revoked, held, held_tokens FROM keys WHERE id = ?";
constexpr std::string_view kAllAccounts =
    "SELECT id, name, role, models, requests_per_minute, tokens_per_minute, concurrent_requests, "
    "monthly_tokens, "
    "granted, topped_up, created, expires, revoked, held, held_tokens FROM keys ORDER BY created, id";

// Names go to terminals, CSV files and pages: one line of UTF-8.
void check_name(const std::string& text, const std::string& param) {
  const bool has_control =
      std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; });
  bool is_utf8 = true;
  try {
    json(text).dump();
  } catch (const json::exception&) {
    is_utf8 = false;
  }
  if (text.empty() || text.size() > kMaxNameBytes || has_control || !is_utf8)
    throw ApiError(422, fmt::format("{}: expected 1 to {} bytes of UTF-8 on one line", param, kMaxNameBytes),
                   param);
}

void check_number(const std::optional<int64_t>& value, int64_t low, int64_t high, const std::string& param) {
  if (!value || (*value >= low && *value <= high)) return;
  throw ApiError(422, fmt::format("{}: expected {} to {}, found {}", param, low, high, *value), param);
}

void check_spec(const KeySpec& spec) {
  check_name(spec.name, "name");
  for (const std::string& model : spec.models) check_name(model, "models");
  check_number(spec.limits.requests_per_minute, 1, kMaxLimit, "requests_per_minute");
  check_number(spec.limits.tokens_per_minute, 1, kMaxLimit, "tokens_per_minute");
  check_number(spec.limits.concurrent_requests, 1, kMaxLimit, "concurrent_requests");
  check_number(spec.limits.monthly_tokens, 1, kMaxLimit, "monthly_tokens");
  check_number(spec.balance, 0, kMaxAmount, "balance");
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> found;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    found.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return found;
}

std::string model_lines(const KeySpec& spec) {
  return fmt::format("{}", fmt::join(spec.models, "\n"));
}

std::string_view role_name(const KeySpec& spec) {
  return spec.role == Role::kAdmin ? "admin" : "user";
}

Account existing(Connection& db, const std::string& id) {
  std::optional<Account> account = read_account(db, id, nullptr);
  if (!account) throw ApiError(404, fmt::format("There is no key {}.", id));
  return *std::move(account);
}

Account unrevoked(Connection& db, const std::string& id) {
  Account account = existing(db, id);
  if (account.revoked) throw ApiError(409, fmt::format("The key {} is revoked.", id));
  return account;
}

}  // namespace

Account account_of(const Query& row) {
  Account account;
  account.id = row.text(0);
  account.spec.name = row.text(1);
  account.spec.role = row.text(2) == "admin" ? Role::kAdmin : Role::kUser;
  account.spec.models = lines(row.text(3));
  account.spec.limits = {row.integer_or_none(4), row.integer_or_none(5), row.integer_or_none(6),
                         row.integer_or_none(7)};
  account.granted = row.integer(8);
  if (const auto topped_up = row.integer_or_none(9)) account.spec.balance = account.granted + *topped_up;
  account.created = row.integer(10);
  account.spec.expires = row.integer_or_none(11);
  account.revoked = row.integer_or_none(12);
  return account;
}

std::optional<Account> read_account(Connection& db, const std::string& id, Held* held) {
  Query row = db.query(kOneAccount, id);
  if (!row.next()) return std::nullopt;
  if (held != nullptr) *held = {row.integer(13), row.integer(14)};
  return account_of(row);
}

std::pair<Account, std::string> Accounts::create(const KeySpec& spec, Time now) {
  check_spec(spec);
  const std::string id = random_id(kKeyIdLength), key = make_key(id), digest = key_digest(key);
  std::optional<Account> account;
  write([&](Connection& db) {
    db.run(
        "INSERT INTO keys(id, digest, name, role, models, requests_per_minute, tokens_per_minute, "
        "concurrent_requests, monthly_tokens, granted, topped_up, created, expires) "
        "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)",
        id, digest, spec.name, role_name(spec), model_lines(spec), spec.limits.requests_per_minute,
        spec.limits.tokens_per_minute, spec.limits.concurrent_requests, spec.limits.monthly_tokens,
        spec.balance, seconds_of(now.wall), spec.expires);
    account = existing(db, id);
  });
  return {*std::move(account), key};
}

std::vector<Account> Accounts::list() {
  std::vector<Account> accounts;
  read([&](Connection& db) {
    Query row = db.query(kAllAccounts);
    while (row.next()) accounts.push_back(account_of(row));
  });
  return accounts;
}

Account Accounts::find(const std::string& id) {
  Account account;
  read([&](Connection& db) { account = existing(db, id); });
  return account;
}

Account Accounts::update(const std::string& id, const std::function<void(KeySpec&)>& change) {
  std::optional<Account> account;
  write([&](Connection& db) {
    KeySpec spec = unrevoked(db, id).spec;
    change(spec);
    spec.balance.reset();
    check_spec(spec);
    const KeyLimits& limits = spec.limits;
    db.run(
        "UPDATE keys SET name = ?, role = ?, models = ?, requests_per_minute = ?, tokens_per_minute = ?, "
        "concurrent_requests = ?, monthly_tokens = ?, expires = ? WHERE id = ?",
        spec.name, role_name(spec), model_lines(spec), limits.requests_per_minute, limits.tokens_per_minute,
        limits.concurrent_requests, limits.monthly_tokens, spec.expires, id);
    account = existing(db, id);
  });
  return *std::move(account);
}

void Accounts::revoke(const std::string& id, Time now) {
  write([&](Connection& db) {
    existing(db, id);
    db.run("UPDATE keys SET revoked = COALESCE(revoked, ?) WHERE id = ?", seconds_of(now.wall), id);
  });
}

std::string Accounts::rotate(const std::string& id) {
  std::string key = make_key(id);
  const std::string digest = key_digest(key);
  write([&](Connection& db) {
    unrevoked(db, id);
    db.run("UPDATE keys SET digest = ? WHERE id = ?", digest, id);
  });
  return key;
}

void Accounts::top_up(const std::string& id, int64_t amount, bool granted) {
  check_number(amount, 1, kMaxAmount, "amount");
  write([&](Connection& db) {
    const Account account = existing(db, id);
    if (!account.spec.balance)
      throw ApiError(409, fmt::format("The key {} has no balance: nothing is charged to it.", id));
    check_number(*account.spec.balance + amount, -kMaxAmount, kMaxAmount, "balance");
    db.run(granted ? std::string_view("UPDATE keys SET granted = granted + ? WHERE id = ?")
                   : std::string_view("UPDATE keys SET topped_up = topped_up + ? WHERE id = ?"),
           amount, id);
  });
}

int64_t Accounts::prune(int64_t day) {
  const int64_t end = day * kSecondsPerDay;
  std::optional<int64_t> first, last;
  read([&](Connection& db) {  // which looks at every row, and keeps nobody from writing
    Query row = db.query("SELECT MIN(id), MAX(id) FROM ledger WHERE state > 0 AND created < ?", end);
    row.next();
    first = row.integer_or_none(0), last = row.integer_or_none(1);
  });
  int64_t rows = 0;
  for (int64_t id = first.value_or(0); last && id <= *last; id += kPrunedAtOnce) {
    const auto start = std::chrono::steady_clock::now();
    write([&](Connection& db) {
      rows += db.run("DELETE FROM ledger WHERE id BETWEEN ? AND ? AND state > 0 AND created < ?", id,
                     id + kPrunedAtOnce - 1, end);
      db.execute(kGiveBackPages);
    });
    std::this_thread::sleep_for(std::chrono::steady_clock::now() - start);  // a server gets half of the time
  }
  return rows;
}

std::vector<std::pair<std::string, Price>> Accounts::prices() {
  std::vector<std::pair<std::string, Price>> found;
  read([&](Connection& db) {
    Query row = db.query("SELECT model, cache_hit, cache_miss, output FROM prices ORDER BY model");
    while (row.next()) found.emplace_back(row.text(0), Price{row.integer(1), row.integer(2), row.integer(3)});
  });
  return found;
}

void Accounts::set_price(const std::string& model, const Price& price) {
  check_name(model, "model");
  check_number(price.cache_hit, 0, kMaxPrice, "cache_hit");
  check_number(price.cache_miss, 0, kMaxPrice, "cache_miss");
  check_number(price.output, 0, kMaxPrice, "output");
  write([&](Connection& db) {
    db.run("INSERT OR REPLACE INTO prices VALUES(?, ?, ?, ?)", model, price.cache_hit, price.cache_miss,
           price.output);
  });
}

void Accounts::remove_price(const std::string& model) {
  write([&](Connection& db) {
    if (model == "*" || db.run("DELETE FROM prices WHERE model = ?", model) == 0)
      throw ApiError(404, fmt::format("The model {} has no price that could be removed.", model));
  });
}

std::string Accounts::currency() {
  std::string name;
  read([&](Connection& db) {
    Query row = db.query("SELECT value FROM settings WHERE name = 'currency'");
    if (row.next()) name = row.text(0);
  });
  return name;
}

void Accounts::set_currency(const std::string& currency) {
  check_name(currency, "currency");
  write([&](Connection& db) { db.run("UPDATE settings SET value = ? WHERE name = 'currency'", currency); });
}

}  // namespace hadal::serve
