// hadal keys: who may use the server, for how much, and what they used. Works beside a running one.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "hadal/core/error.h"
#include "hadal/serve/accounts.h"
#include "hadal/serve/api_error.h"

namespace hadal::cli {
namespace {

namespace fs = std::filesystem;
using serve::Account;
using serve::Accounts;

constexpr int64_t kSecondsPerDay = 86'400;
constexpr int64_t kMostDays = 36'500, kMostLimit = 1'000'000'000'000;
constexpr std::string_view kNone = "none";  // a limit's value that takes it away

using Change = std::function<void(serve::KeySpec&)>;

struct KeysOptions {
  std::string db, id, currency, model, remove;
  std::vector<Change> changes;  // what the command line says of a key
  bool granted = false, as_json = false, as_csv = false;
  std::string balance, amount, from, to, before;
  std::vector<std::string> price;
};

// $XDG_DATA_HOME/hadal/accounts.db, else below ~/.local/share; the folder is made.
std::string default_path() {
  const char* data = std::getenv("XDG_DATA_HOME");
  const char* home = std::getenv("HOME");
  fs::path folder;
  if (data != nullptr && *data == '/') {
    folder = data;
  } else if (home != nullptr && *home != '\0') {
    folder = fs::path(home) / ".local/share";
  } else {
    fail(ErrorKind::kUsage, "hadal keys: neither --db nor $HOME says where the accounts are");
  }
  folder /= "hadal";
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(ErrorKind::kIo, "{}\n  cannot be made: {}", folder.string(), error.message());
  return (folder / "accounts.db").string();
}

int64_t amount_of(const std::string& text, const std::string& name, int64_t most) {
  const auto amount = serve::parse_amount(text, most);
  if (!amount) {
    fail(ErrorKind::kUsage,
         "{}\n  expected  an amount from 0 to {}, with at most 6 digits after the point\n"
         "  found     {}",
         name, serve::format_amount(most), text);
  }
  return *amount;
}

int64_t day_of(const std::string& text, const std::string& name) {
  const auto day = serve::parse_day(text);
  if (!day) fail(ErrorKind::kUsage, "{}\n  expected  a day as 2025-12-31\n  found     {}", name, text);
  return *day;
}

std::optional<int64_t> day_if_any(const std::string& text, const std::string& name) {
  return text.empty() ? std::nullopt : std::optional(day_of(text, name));
}

std::optional<int64_t> number_or_none(const std::string& text, const std::string& name, int64_t most) {
  if (text == kNone) return std::nullopt;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 1 || number > most) {
    fail(ErrorKind::kUsage, "{}\n  expected  a whole number from 1 to {}, or {}\n  found     {}", name, most,
         kNone, text);
  }
  return number;
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
    text += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  }
  return text;
}

std::string state_of(const Account& account, int64_t now) {
  if (account.revoked) return "revoked";
  if (!account.spec.expires) return "valid";
  if (*account.spec.expires <= now) return "expired";
  return "until " + serve::format_day(*account.spec.expires / kSecondsPerDay);
}

std::string limits_text(const Account& account) {
  std::vector<std::string> parts;
  const auto add = [&](const std::optional<int64_t>& limit, const char* what) {
    if (limit) parts.push_back(fmt::format("{} {}", *limit, what));
  };
  add(account.spec.limits.requests_per_minute, "requests/min");
  add(account.spec.limits.tokens_per_minute, "tokens/min");
  add(account.spec.limits.concurrent_requests, "at once");
  add(account.spec.limits.monthly_tokens, "tokens/month");
  if (!account.spec.models.empty())
    parts.push_back(fmt::format("only {}", fmt::join(account.spec.models, ", ")));
  return fmt::format("{}", fmt::join(parts, ", "));
}

int64_t seconds_now() {
  return std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
}

void change(const KeysOptions& options, serve::KeySpec& spec) {
  for (const Change& each : options.changes) each(spec);
}

void create(const KeysOptions& options, Accounts& accounts) {
  serve::KeySpec spec;
  change(options, spec);
  if (!options.balance.empty()) spec.balance = amount_of(options.balance, "--balance", serve::kMaxAmount);
  const auto [account, key] = accounts.create(spec, serve::Time::now());
  write_stdout(key + "\n");
  fmt::print(stderr, "key {} is made; it is shown this once\n", account.id);
}

void update(const KeysOptions& options, Accounts& accounts) {
  if (options.changes.empty())
    fail(ErrorKind::kUsage, "hadal keys update\n  expected  what changes: --name, --monthly-tokens, ...");
  accounts.update(options.id, [&](serve::KeySpec& spec) { change(options, spec); });
}

void list(const KeysOptions& options, Accounts& accounts) {
  const std::vector<Account> all = accounts.list();
  if (options.as_json) {
    json array = json::array();
    for (const Account& account : all) array.push_back(serve::to_json(account));
    return write_stdout(array.dump(2) + "\n");
  }
  const int64_t now = seconds_now();
  std::vector<std::vector<std::string>> rows{{"id", "name", "role", "state", "balance", "limits"}};
  for (const Account& account : all) {
    rows.push_back({account.id, account.spec.name,
                    account.spec.role == serve::Role::kAdmin ? "admin" : "user", state_of(account, now),
                    account.spec.balance ? serve::format_amount(*account.spec.balance) : "unlimited",
                    limits_text(account)});
  }
  write_stdout(table(rows));
}

void usage(const KeysOptions& options, Accounts& accounts) {
  const auto rows = accounts.usage({.from_day = day_if_any(options.from, "--from"),
                                    .to_day = day_if_any(options.to, "--to"),
                                    .key = options.id,
                                    .model = options.model});
  if (options.as_csv) return write_stdout(serve::usage_csv(rows, accounts.currency()));
  if (options.as_json) {
    json array = json::array();
    for (const serve::UsageRow& row : rows) array.push_back(serve::to_json(row));
    return write_stdout(array.dump(2) + "\n");
  }
  std::vector<std::vector<std::string>> cells{
      {"day", "key", "name", "model", "requests", "cache hits", "misses", "completion", accounts.currency()}};
  for (const serve::UsageRow& row : rows) {
    cells.push_back({serve::format_day(row.day), row.key, row.name, row.model,
                     fmt::format("{}", row.requests), fmt::format("{}", row.usage.prompt_cache_hit_tokens),
                     fmt::format("{}", row.usage.prompt_cache_miss_tokens),
                     fmt::format("{}", row.usage.completion_tokens), serve::format_amount(row.cost)});
  }
  write_stdout(table(cells));
}

void prune(const KeysOptions& options, Accounts& accounts) {
  const int64_t rows = accounts.prune(day_of(options.before, "--before"));
  write_stdout(fmt::format("{} settled requests from before {} are deleted\n", rows, options.before));
}

void change_prices(const KeysOptions& options, Accounts& accounts) {
  if (!options.currency.empty()) accounts.set_currency(options.currency);
  if (!options.remove.empty()) accounts.remove_price(options.remove);
  if (options.price.empty()) return;
  const auto price = [&](size_t i) { return amount_of(options.price[i], "--set", serve::kMaxPrice); };
  accounts.set_price(options.price[0], {price(1), price(2), price(3)});
}

void prices(const KeysOptions& options, Accounts& accounts) {
  change_prices(options, accounts);
  const auto all = accounts.prices();
  if (options.as_json) {
    json models = json::object();
    for (const auto& [model, price] : all) {
      models[model] = {{"cache_hit", serve::format_amount(price.cache_hit)},
                       {"cache_miss", serve::format_amount(price.cache_miss)},
                       {"output", serve::format_amount(price.output)}};
    }
    return write_stdout(json{{"currency", accounts.currency()}, {"prices", models}}.dump(2) + "\n");
  }
  std::vector<std::vector<std::string>> rows{
      {"model", "cache hit", "cache miss", "output", accounts.currency() + " for a million tokens"}};
  for (const auto& [model, price] : all) {
    rows.push_back({model, serve::format_amount(price.cache_hit), serve::format_amount(price.cache_miss),
                    serve::format_amount(price.output), ""});
  }
  write_stdout(table(rows));
}

using Action = std::function<void(const KeysOptions&, Accounts&)>;

// Everything that the database refuses is said with its path, which clients of the server are not told.
void with_accounts(const KeysOptions& options, const Action& action) {
  const std::string path = options.db.empty() ? default_path() : options.db;
  const auto accounts = Accounts::open(path, {});
  try {
    action(options, *accounts);
  } catch (const serve::ApiError& e) {
    fail(e.status() == 422 ? ErrorKind::kUsage : ErrorKind::kIo, "{}\n  {}", path, e.what());
  }
}

CLI::App* add_command(CLI::App& keys, const std::shared_ptr<KeysOptions>& options, const char* name,
                      const char* text, const Action& action) {
  CLI::App* cmd = keys.add_subcommand(name, text);
  cmd->add_option("--db", options->db,
                  "The accounts database (default: $XDG_DATA_HOME or ~/.local/share, hadal/accounts.db)");
  cmd->callback([options, action] { with_accounts(*options, action); });
  return cmd;
}

std::function<void(const std::string&)> name_changer(const std::shared_ptr<KeysOptions>& options) {
  return [options](const std::string& name) {
    options->changes.emplace_back([name](serve::KeySpec& spec) { spec.name = name; });
  };
}

struct LimitOption {
  const char *name, *text;
  std::optional<int64_t> serve::KeyLimits::*limit;
};

constexpr LimitOption kLimits[] = {
    {"--requests-per-minute", "Requests in a minute; none: no limit", &serve::KeyLimits::requests_per_minute},
    {"--tokens-per-minute", "Tokens in a minute, prompts and answers; none: no limit",
     &serve::KeyLimits::tokens_per_minute},
    {"--concurrent-requests", "Requests that run at the same time; none: no limit",
     &serve::KeyLimits::concurrent_requests},
    {"--monthly-tokens", "Tokens in a calendar month (UTC); none: no limit",
     &serve::KeyLimits::monthly_tokens},
};

// What create and update have in common.
void add_limits(CLI::App& cmd, const std::shared_ptr<KeysOptions>& options, const char* admin_flag) {
  const auto add = [options](Change change) { options->changes.push_back(std::move(change)); };
  cmd.add_flag_function(
      admin_flag,
      [add](int64_t count) {
        const serve::Role role = count > 0 ? serve::Role::kAdmin : serve::Role::kUser;
        add([role](serve::KeySpec& spec) { spec.role = role; });
      },
      "It may manage the server and other keys");
  repeatable(cmd.add_option_function<std::vector<std::string>>(
      "--model",
      [add](std::vector<std::string> models) {
        if (models.size() == 1 && models.front() == kNone) models.clear();
        if (std::find(models.begin(), models.end(), kNone) != models.end())
          fail(ErrorKind::kUsage, "--model\n  expected  models, or {} alone\n  found     both", kNone);
        add([models](serve::KeySpec& spec) { spec.models = models; });
      },
      "A model that it may use; may be repeated; none: it may use all"));
  for (const LimitOption& option : kLimits) {
    const auto set = [add, option](const std::string& text) {
      const std::optional<int64_t> value = number_or_none(text, option.name, kMostLimit);
      add([value, option](serve::KeySpec& spec) { spec.limits.*option.limit = value; });
    };
    cmd.add_option_function<std::string>(option.name, set, option.text);
  }
  const auto set_end = [add](const std::string& text) {
    std::optional<int64_t> end = number_or_none(text, "--expires-in", kMostDays);
    if (end) end = seconds_now() + *end * kSecondsPerDay;
    add([end](serve::KeySpec& spec) { spec.expires = end; });
  };
  cmd.add_option_function<std::string>("--expires-in", set_end, "Days from now until it ends; none: never");
}

void add_create(CLI::App& keys, const std::shared_ptr<KeysOptions>& options) {
  CLI::App* cmd = add_command(keys, options, "create", "Make a key; it is printed once", create);
  cmd->add_option_function<std::string>("--name", name_changer(options), "Whose it is or what it is for")
      ->required();
  add_limits(*cmd, options, "--admin");
  cmd->add_option("--balance", options->balance, "Money that it begins with: 10.00 (default: no limit)");
}

void add_of_one_key(CLI::App& keys, const std::shared_ptr<KeysOptions>& options) {
  const auto id = [&](CLI::App* cmd) { cmd->add_option("id", options->id, "The key's id")->required(); };
  CLI::App* changed = add_command(keys, options, "update",
                                  "Change what a key may do; what is not named stays as it is", update);
  id(changed);
  changed->add_option_function<std::string>("--name", name_changer(options), "Whose it is or what it is for");
  add_limits(*changed, options, "--admin,!--no-admin");
  id(add_command(keys, options, "revoke", "End a key for good", [](const KeysOptions& o, Accounts& accounts) {
    accounts.revoke(o.id, serve::Time::now());
  }));
  id(add_command(
      keys, options, "rotate", "Print a new key in place of an old one, with the same id and limits",
      [](const KeysOptions& o, Accounts& accounts) { write_stdout(accounts.rotate(o.id) + "\n"); }));
  CLI::App* top_up = add_command(keys, options, "topup", "Add money to a key's balance",
                                 [](const KeysOptions& o, Accounts& accounts) {
                                   const int64_t amount = amount_of(o.amount, "amount", serve::kMaxAmount);
                                   accounts.top_up(o.id, amount, o.granted);
                                 });
  id(top_up);
  top_up->add_option("amount", options->amount, "How much: 25.00")->required();
  top_up->add_flag("--granted", options->granted, "It is a gift, which is spent first");
}

void add_reports(CLI::App& keys, const std::shared_ptr<KeysOptions>& options) {
  const auto as_json = [&](CLI::App* cmd) { return cmd->add_flag("--json", options->as_json, "Print JSON"); };
  as_json(add_command(keys, options, "list", "Show the keys and what they may do", list));
  CLI::App* used = add_command(keys, options, "usage", "Show what was used, by day, key and model", usage);
  used->add_option("--from", options->from, "First day, UTC: 2025-12-01");
  used->add_option("--to", options->to, "Last day, UTC: 2025-12-31");
  used->add_option("--key", options->id, "Of this key (its id)");
  used->add_option("--model", options->model, "Of this model");
  used->add_flag("--csv", options->as_csv, "Print CSV")->excludes(as_json(used));
  add_command(keys, options, "prune", "Delete settled requests of the ledger; what was used per day stays",
              prune)
      ->add_option("--before", options->before, "Those of the days before this one, UTC: 2025-12-01")
      ->required();
  CLI::App* price =
      add_command(keys, options, "prices", "Show and change what a million tokens cost", prices);
  price
      ->add_option("--set", options->price,
                   "MODEL HIT MISS OUTPUT: deepseek-chat 0.07 0.27 1.10; '*' is all others")
      ->expected(4);
  price->add_option("--remove", options->remove, "The model gets the price of '*' again");
  price->add_option("--currency", options->currency, "Name of the money (amounts stay as they are)");
  as_json(price);
}

}  // namespace

void add_keys(CLI::App& app) {
  auto options = std::make_shared<KeysOptions>();
  CLI::App* cmd =
      app.add_subcommand("keys", "Make and end keys for hadal serve, see and change their limits and costs");
  cmd->require_subcommand(1);
  add_create(*cmd, options);
  add_of_one_key(*cmd, options);
  add_reports(*cmd, options);
}

}  // namespace hadal::cli
