// The way of a request through the accounts: authenticate, admit, progress, settle.
#include "hadal/serve/accounts.h"

#include <algorithm>
#include <exception>

#include <fmt/format.h>

#include "hadal/core/log.h"
#include "hadal/serve/accounts_key.h"
#include "hadal/serve/accounts_rows.h"
#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

enum State : int64_t { kOpen = 0, kSettled = 1, kRecovered = 2 };

constexpr int64_t kMostTokens = int64_t{1} << 31;  // what cost() takes

struct Month {
  int64_t first_day, last_day, seconds_left;
};

Month month_of(std::chrono::system_clock::time_point time) {
  namespace chrono = std::chrono;
  const chrono::year_month_day date(chrono::floor<chrono::days>(time));
  const chrono::sys_days first = date.year() / date.month() / 1;
  const chrono::sys_days next = (date.year() / date.month() + chrono::months(1)) / 1;
  return {first.time_since_epoch().count(), next.time_since_epoch().count() - 1,
          chrono::duration_cast<chrono::seconds>(next - time).count() + 1};
}

void check_key_holds(const Account& account, int64_t now) {
  if (account.revoked) throw ApiError(401, "Authentication fails: this API key was revoked.");
  if (account.spec.expires && now >= *account.spec.expires)
    throw ApiError(401, "Authentication fails: this API key has expired.");
}

void check_month(Connection& db, const Account& account, int64_t held_tokens, int64_t wanted, Time now) {
  const std::optional<int64_t> most = account.spec.limits.monthly_tokens;
  if (!most) return;
  const Month month = month_of(now.wall);
  Query used = db.query(
      "SELECT COALESCE(SUM(hit_tokens + miss_tokens + completion_tokens), 0) FROM usage "
      "WHERE key_id = ? AND day BETWEEN ? AND ?",
      account.id, month.first_day, month.last_day);
  used.next();
  if (used.integer(0) + held_tokens + wanted <= *most) return;
  ApiError error(429,
                 fmt::format("Monthly quota reached: {} of {} tokens are used or held for running requests, "
                             "and this request may take {}.",
                             used.integer(0) + held_tokens, *most, wanted));
  error.retry_after = month.seconds_left;
  throw error;
}

void check_balance(const Account& account, int64_t held, int64_t wanted) {
  if (!account.spec.balance) return;
  if (*account.spec.balance <= 0) throw ApiError(402, "Insufficient Balance");
  if (*account.spec.balance - held < wanted) {
    throw ApiError(402, fmt::format("Insufficient Balance: this request may cost {}, and {} are left.",
                                    format_amount(wanted), format_amount(*account.spec.balance - held)));
  }
}

Price price_of(Connection& db, const std::string& model) {
  Query row = db.query(
      "SELECT cache_hit, cache_miss, output FROM prices WHERE model IN (?, '*') ORDER BY model = '*' LIMIT 1",
      model);
  if (!row.next()) return {};
  return {row.integer(0), row.integer(1), row.integer(2)};
}

// The ledger's row, and what it holds; returns the row's number.
int64_t reserve(Connection& db, const std::string& id, const Work& work, Time now) {
  Held held;
  const std::optional<Account> account = read_account(db, id, &held);
  if (!account) throw ApiError(401, "Authentication fails: this API key is not valid.");
  const int64_t second = seconds_of(now.wall);
  check_key_holds(*account, second);
  const Price price = price_of(db, work.model);
  // A hit costs no more than a miss where prices are sane; either way the dearer one is held.
  const bool dear_hits = price.cache_hit > price.cache_miss;
  const Usage worst{dear_hits ? work.prompt_tokens : 0, dear_hits ? 0 : work.prompt_tokens, work.max_tokens};
  const int64_t amount = cost(worst, price);
  check_balance(*account, held.amount, amount);
  check_month(db, *account, held.tokens, worst.tokens(), now);
  const int64_t rows = db.run(
      "INSERT INTO ledger(key_id, request_id, model, created, state, held, held_tokens, hit_price, "
      "miss_price, "
      "output_price) VALUES(?, ?, ?, ?, 0, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
      id, work.id, work.model, second, amount, worst.tokens(), price.cache_hit, price.cache_miss,
      price.output);
  if (rows == 0) throw ApiError(400, "A request with this id was made before.", "request_id");
  db.run("UPDATE keys SET held = held + ?, held_tokens = held_tokens + ? WHERE id = ?", amount,
         worst.tokens(), id);
  Query row = db.query("SELECT last_insert_rowid()");
  row.next();
  return row.integer(0);
}

Usage checked(const Usage& usage) {
  const auto fits = [](int64_t tokens) { return tokens >= 0 && tokens <= kMostTokens; };
  HADAL_CHECK(fits(usage.prompt_cache_hit_tokens) && fits(usage.prompt_cache_miss_tokens) &&
                  fits(usage.completion_tokens),
              "a usage of {}, {} and {} tokens", usage.prompt_cache_hit_tokens,
              usage.prompt_cache_miss_tokens, usage.completion_tokens);
  return usage;
}

// Charges an open row; a settled one stays as it is.
void charge(Connection& db, int64_t row, const Usage& usage, State state) {
  std::string key, model;
  Price price;
  int64_t day = 0, held = 0, held_tokens = 0;
  {
    Query found = db.query(
        "SELECT key_id, model, created, held, held_tokens, hit_price, miss_price, output_price FROM ledger "
        "WHERE id = ? AND state = 0",
        row);
    if (!found.next()) return;
    key = found.text(0), model = found.text(1);
    day = found.integer(2) / kSecondsPerDay, held = found.integer(3), held_tokens = found.integer(4);
    price = {found.integer(5), found.integer(6), found.integer(7)};
  }
  const int64_t amount = cost(usage, price);
  const auto& [hit, miss, completion] = usage;
  db.run(
      "UPDATE ledger SET state = ?, hit_tokens = ?, miss_tokens = ?, completion_tokens = ?, cost = ? WHERE "
      "id = ?",
      int64_t{state}, hit, miss, completion, amount, row);
  // Gifts are spent first; without a balance (topped_up is null) nothing is.
  db.run(
      "UPDATE keys SET held = held - ?1, held_tokens = held_tokens - ?2, "
      "topped_up = topped_up - (?3 - MIN(granted, ?3)), "
      "granted = CASE WHEN topped_up IS NULL THEN granted ELSE granted - MIN(granted, ?3) END WHERE id = ?4",
      held, held_tokens, amount, key);
  db.run(
      "INSERT INTO usage VALUES(?, ?, ?, 1, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET requests = requests + 1, "
      "hit_tokens = hit_tokens + excluded.hit_tokens, miss_tokens = miss_tokens + excluded.miss_tokens, "
      "completion_tokens = completion_tokens + excluded.completion_tokens, cost = cost + excluded.cost",
      key, day, model, hit, miss, completion, amount);
}

// Runs the work. A fault of the disk is a refusal to clients, who learn nothing of paths, and one warning until it works again: a
// full disk is as full for the next token of a hundred streams.
template <class Action>
void guard(std::atomic<bool>& fails, std::string_view what, const Action& action) {
  try {
    action();
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kIo) throw;
    if (!fails.exchange(true)) {
      log_warning("accounts: the database cannot be {}, requests that need it are refused: {}", what,
                  e.what());
    }
    ApiError refusal(503, "The accounts database cannot be read or written now.");
    refusal.retry_after = 5;
    throw refusal;
  }
  if (fails.exchange(false)) log_warning("accounts: the database can be {} again", what);
}

}  // namespace

std::unique_ptr<Accounts> Accounts::open(const std::string& path, const DatabaseOptions& options) {
  std::unique_ptr<Accounts> accounts(new Accounts(path, options));
  if (options.serves) accounts->recover();
  return accounts;
}

Accounts::Accounts(const std::string& path, const DatabaseOptions& options)
    : serves_(options.serves), db_(path, options) {}

void Accounts::recover() {
  db_.write([](Connection& db) {
    std::vector<Pending> left;
    {
      Query open =
          db.query("SELECT id, hit_tokens, miss_tokens, completion_tokens FROM ledger WHERE state = 0");
      while (open.next())
        left.push_back({open.integer(0), {open.integer(1), open.integer(2), open.integer(3)}});
    }
    for (const auto& [row, usage] : left) charge(db, row, usage, kRecovered);
    if (!left.empty()) log_warning("accounts: {} requests of a killed server are settled", left.size());
  });
}

Accounts::~Accounts() {
  try {
    write_pending();
  } catch (const std::exception&) {  // what is pending stays open, and is recovered
  }
}

void Accounts::write_pending() {
  std::vector<Pending> before;
  {
    const std::lock_guard lock(pending_mutex_);
    before.swap(pending_);
  }
  if (before.empty()) return;
  try {
    db_.write([&before](Connection& db) {
      for (const auto& [row, usage] : before) charge(db, row, usage, kSettled);
    });
  } catch (...) {
    const std::lock_guard lock(pending_mutex_);
    pending_.insert(pending_.end(), before.begin(), before.end());
    throw;
  }
}

void Accounts::write(const Database::Work& work) {
  guard(write_fails_, "written", [&] {
    write_pending();
    db_.write(work);
  });
}

void Accounts::read(const Database::Work& work) {
  guard(read_fails_, "read", [&] { db_.read(work); });
}

Account Accounts::authenticate(std::string_view key, Time now) {
  if (key.empty()) throw ApiError(401, "Authentication fails: no API key was given.");
  const std::string id(key_id(key));
  std::optional<Account> account;
  std::string expected;
  read([&](Connection& db) {
    account = read_account(db, id, nullptr);
    Query row = db.query("SELECT digest FROM keys WHERE id = ?", id);
    if (row.next()) expected = row.text(0);
  });
  if (!account || !same_digest(key_digest(key), expected))
    throw ApiError(401, "Authentication fails: this API key is not valid.");
  check_key_holds(*account, seconds_of(now.wall));
  return *std::move(account);
}

Reservation Accounts::admit(const Account& account, const Work& work, Time now) {
  HADAL_CHECK(serves_, "only the server's database admits requests");
  HADAL_CHECK(work.prompt_tokens >= 0 && work.prompt_tokens <= kMostTokens && work.max_tokens >= 0 &&
                  work.max_tokens <= kMostTokens,
              "a request of {} and {} tokens", work.prompt_tokens, work.max_tokens);
  const auto& models = account.spec.models;
  if (!models.empty() && std::find(models.begin(), models.end(), work.model) == models.end())
    throw ApiError(403, fmt::format("This API key may not use the model {}.", work.model), "model");
  const int64_t tokens = work.prompt_tokens + work.max_tokens;
  limiter_.take(account.id, account.spec.limits, tokens, now.steady);
  try {
    int64_t row = 0;
    write([&](Connection& db) { row = reserve(db, account.id, work, now); });
    return {this, row, account.id, tokens};
  } catch (...) {
    limiter_.undo(account.id, tokens);
    throw;
  }
}

void Accounts::finish(const Reservation& request, const Usage& usage) {
  limiter_.end(request.key_, std::max<int64_t>(0, request.held_tokens_ - usage.tokens()));
  try {
    write([&](Connection& db) { charge(db, request.row_, usage, kSettled); });
  } catch (const ApiError&) {
    const std::lock_guard lock(pending_mutex_);
    pending_.push_back({request.row_, request.usage_});
    throw;
  }
}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this == &other) return *this;
  abandon();
  accounts_ = std::exchange(other.accounts_, nullptr);
  row_ = other.row_, held_tokens_ = other.held_tokens_, key_ = std::move(other.key_);
  usage_ = other.usage_, tried_ = other.tried_;
  return *this;
}

void Reservation::progress(const Usage& usage) noexcept {
  if (accounts_ == nullptr) return;
  try {
    usage_ = checked(usage);
    if (tried_ && usage.completion_tokens < *tried_ + Accounts::kProgressTokens) return;
    tried_ = usage.completion_tokens;
    accounts_->write([&](Connection& db) {
      db.run(
          "UPDATE ledger SET hit_tokens = ?, miss_tokens = ?, completion_tokens = ? WHERE id = ? AND state = "
          "0",
          usage.prompt_cache_hit_tokens, usage.prompt_cache_miss_tokens, usage.completion_tokens, row_);
    });
  } catch (const ApiError&) {  // the disk, and the warning has been given
  } catch (const std::exception& e) {
    log_warning("accounts: progress is not recorded: {}", e.what());
  }
}

void Reservation::settle(const Usage& usage) {
  if (accounts_ == nullptr) return;
  std::exchange(accounts_, nullptr)->finish(*this, checked(usage));
}

void Reservation::abandon() noexcept {
  try {
    settle(usage_);
  } catch (const ApiError&) {  // it is pending now, and the warning has been given
  } catch (const std::exception& e) {
    log_warning("accounts: {}", e.what());
  }
}

}  // namespace hadal::serve
