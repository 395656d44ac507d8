#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hadal/core/json.h"
#include "hadal/serve/accounts_db.h"
#include "hadal/serve/accounts_limits.h"
#include "hadal/serve/accounts_money.h"

namespace hadal::serve {

/// Both clocks, so that tests have their own: days, months and expiry go by the first, rates by the second.
struct Time {
  std::chrono::system_clock::time_point wall;
  std::chrono::steady_clock::time_point steady;

  static Time now() { return {std::chrono::system_clock::now(), std::chrono::steady_clock::now()}; }
};

enum class Role : uint8_t { kUser, kAdmin };

/// What somebody decides about a key when it is made.
struct KeySpec {
  std::string name{};
  Role role = Role::kUser;
  std::vector<std::string> models{};  // that it may use; empty: all
  KeyLimits limits{};
  std::optional<int64_t> balance{};  // topped up at the beginning; none: nothing is counted against it
  std::optional<int64_t> expires{};  // seconds since 1970
};

/// An account: one key at a time, under an id that stays.
struct Account {
  std::string id;
  KeySpec spec;  // spec.balance: what is left, granted and topped up
  int64_t granted = 0;
  int64_t created = 0;
  std::optional<int64_t> revoked;
};

/// A request that wants to be admitted.
struct Work {
  std::string id;  // unique among its key's requests
  std::string model;
  int64_t prompt_tokens = 0;
  int64_t max_tokens = 0;  // of all answers together
};

class Accounts;

/// An admitted request: worst-case cost and tokens are held for it until it is settled. Settles itself when it goes, with the last
/// progress it was told of. Not to be used by two threads at once; the Accounts have to outlive it.
class Reservation {
 public:
  Reservation(Reservation&& other) noexcept { *this = std::move(other); }
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation() { abandon(); }

  /// What the client is about to have seen, all answers together; to be told before the bytes leave. The first one and then one each
  /// Accounts::kProgressTokens tokens are written down: they are what the request costs if the process is killed. Never throws: what
  /// the disk does not take now, it may take the next time.
  void progress(const Usage& usage) noexcept;

  /// Charges what was used and gives back the rest, before the last byte leaves. Only the first call counts. Throws ApiError 503 if
  /// the disk does not take it: the answer's end is then not to leave, and the last progress is charged with whatever is written
  /// next.
  void settle(const Usage& usage);

 private:
  friend class Accounts;
  Reservation(Accounts* accounts, int64_t row, std::string key, int64_t held_tokens)
      : accounts_(accounts), row_(row), held_tokens_(held_tokens), key_(std::move(key)) {}
  void abandon() noexcept;

  Accounts* accounts_ = nullptr;  // null: settled
  int64_t row_ = 0, held_tokens_ = 0;
  std::string key_;
  Usage usage_;
  std::optional<int64_t> tried_;  // completion tokens of what was given to the disk last
};

/// Which of the usage; none: all of it. Days are counted from 1970-01-01 in UTC, both included.
struct UsageFilter {
  std::optional<int64_t> from_day{}, to_day{};
  std::string key{}, model{};
};

/// A day's settled requests of one key for one model.
struct UsageRow {
  int64_t day = 0;
  std::string key, name, model;
  int64_t requests = 0;
  Usage usage;
  int64_t cost = 0;
};

/// Keys, balances, prices and the ledger of requests: docs/platform.md. Thread-safe. After open() everything throws ApiError alone:
/// the refusals named below, and 503 when the file cannot be read or written.
class Accounts {
 public:
  static constexpr int64_t kProgressTokens = 64;

  /// Throws what Database does. A server settles what a killed one left open, by its last recorded progress.
  static std::unique_ptr<Accounts> open(const std::string& path, const DatabaseOptions& options);
  ~Accounts();
  Accounts(const Accounts&) = delete;
  Accounts& operator=(const Accounts&) = delete;

  /// The account of an Authorization header's key. 401: no key, a wrong, revoked or expired one.
  Account authenticate(std::string_view key, Time now);
  /// 403: not this model. 429 with retry_after: rates, concurrency, the month's tokens. 422: more tokens than a minute ever has.
  /// 402: the balance is used up or is less than the request could cost. 400: the id was there before. 401: revoked meanwhile.
  Reservation admit(const Account& account, const Work& work, Time now);

  /// What GET /user/balance answers. An account without a balance has no balance_infos.
  json balance(const std::string& id);
  /// By day, key and model.
  std::vector<UsageRow> usage(const UsageFilter& filter);

  /// Returns the account and its key, which nobody can ever see again. 422: a name, model, limit or balance that cannot be.
  std::pair<Account, std::string> create(const KeySpec& spec, Time now);
  std::vector<Account> list();
  /// By id. 404: no such account; so below.
  Account find(const std::string& id);
  /// Lets the action change what was decided about a key, and returns what it is now: the next request is held to it. The balance
  /// stays as it is, that is for top_up(). 409: it is revoked. 422: as above.
  Account update(const std::string& id, const std::function<void(KeySpec&)>& change);
  void revoke(const std::string& id, Time now);
  /// A new key for the same account; the old one is refused from now on. 409: it is revoked.
  std::string rotate(const std::string& id);
  /// granted: a gift, which is spent before what was paid for. 409: the account has no balance.
  void top_up(const std::string& id, int64_t amount, bool granted);

  /// Deletes settled requests of the days before this one from the ledger, a few at a time, so that a server that runs beside it
  /// waits for some ten milliseconds; returns how many. Balances and usage stay; a request id that went may come again.
  int64_t prune(int64_t day);

  /// By model; "*" is for all that have none of their own.
  std::vector<std::pair<std::string, Price>> prices();
  void set_price(const std::string& model, const Price& price);
  /// 404: it has no price of its own. "*" stays.
  void remove_price(const std::string& model);
  std::string currency();
  /// A name only: amounts stay as they are.
  void set_currency(const std::string& currency);

 private:
  friend class Reservation;
  struct Pending {
    int64_t row;
    Usage usage;
  };
  Accounts(const std::string& path, const DatabaseOptions& options);
  void recover();
  void write_pending();
  void write(const Database::Work& work);
  void read(const Database::Work& work);
  void finish(const Reservation& request, const Usage& usage);

  const bool serves_;
  Database db_;
  Limiter limiter_;
  std::atomic<bool> write_fails_{false}, read_fails_{false};  // and a warning says so
  std::mutex pending_mutex_;
  std::vector<Pending> pending_;  // settled while the disk took nothing; at most what was running then
};

/// The day of a time, in UTC.
int64_t day_of(std::chrono::system_clock::time_point time);
/// "2025-12-31" as a day; empty if it is none.
std::optional<int64_t> parse_day(std::string_view text);
std::string format_day(int64_t day);

/// The platform page's and the command's tables.
json to_json(const Account& account);
json to_json(const UsageRow& row);
std::string usage_csv(const std::vector<UsageRow>& rows, const std::string& currency);

}  // namespace hadal::serve
