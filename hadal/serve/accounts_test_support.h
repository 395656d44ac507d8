#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <sqlite3.h>

#include "hadal/core/test_files.h"
#include "hadal/serve/accounts.h"
#include "hadal/serve/api_error.h"

namespace hadal::serve {

/// 2025-06-15 12:00 UTC, and the other clock at some other time.
inline Time test_time(std::chrono::seconds later = std::chrono::seconds(0)) {
  return {std::chrono::system_clock::time_point(std::chrono::seconds(1'749'988'800) + later),
          std::chrono::steady_clock::time_point(std::chrono::hours(5) + later)};
}

/// The refusal that the action must end with; its status is 0 if there was none.
inline ApiError refusal_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ApiError& e) {
    return e;
  }
  return {0, ""};
}

/// A number out of the file, read as another program would.
inline int64_t number_in(const std::string& path, const std::string& sql) {
  sqlite3* db = nullptr;
  sqlite3_stmt* statement = nullptr;
  int64_t number = -1;
  EXPECT_EQ(sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READONLY, nullptr), SQLITE_OK);
  EXPECT_EQ(sqlite3_prepare_v2(db, sql.c_str(), -1, &statement, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
  if (sqlite3_step(statement) == SQLITE_ROW) number = sqlite3_column_int64(statement, 0);
  sqlite3_finalize(statement);
  sqlite3_close(db);
  return number;
}

/// What has to hold at any time when nobody writes: sums agree, and nothing is held that nobody holds.
inline void expect_exact(const std::string& path) {
  EXPECT_EQ(number_in(path, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
  EXPECT_EQ(number_in(path, "SELECT COALESCE(SUM(held), 0) FROM keys"),
            number_in(path, "SELECT COALESCE(SUM(held), 0) FROM ledger WHERE state = 0"));
  EXPECT_EQ(number_in(path, "SELECT COALESCE(SUM(held_tokens), 0) FROM keys"),
            number_in(path, "SELECT COALESCE(SUM(held_tokens), 0) FROM ledger WHERE state = 0"));
  for (const std::string& column : {std::string("hit_tokens"), std::string("miss_tokens"),
                                    std::string("completion_tokens"), std::string("cost")}) {
    EXPECT_EQ(number_in(path, "SELECT COALESCE(SUM(" + column + "), 0) FROM usage"),
              number_in(path, "SELECT COALESCE(SUM(" + column + "), 0) FROM ledger WHERE state > 0"))
        << column;
  }
  EXPECT_EQ(number_in(path, "SELECT COALESCE(SUM(requests), 0) FROM usage"),
            number_in(path, "SELECT COUNT(*) FROM ledger WHERE state > 0"));
}

/// A server's database in a folder of its own, with a unit of money for each token.
class AccountsTest : public testing::Test {
 protected:
  AccountsTest() { reopen(); }

  void reopen() {
    accounts.reset();
    accounts = Accounts::open(path, {.serves = true});
    accounts->set_price("*", {kMicro, kMicro, kMicro});  // a millionth a token
  }
  std::pair<Account, std::string> create(KeySpec spec = {}) {
    spec.name = "test";
    return accounts->create(spec, test_time());
  }
  int64_t number(const std::string& sql) const { return number_in(path, sql); }

  TempFolder folder;
  const std::string path = folder.path("accounts.db");
  std::unique_ptr<Accounts> accounts;
};

}  // namespace hadal::serve
