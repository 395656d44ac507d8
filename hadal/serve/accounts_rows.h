#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "hadal/serve/accounts.h"

namespace hadal::serve {

inline constexpr int64_t kSecondsPerDay = 86'400;

inline int64_t seconds_of(std::chrono::system_clock::time_point time) {
  return std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
}

/// What unsettled requests hold of an account.
struct Held {
  int64_t amount = 0, tokens = 0;
};

/// The account's row; none if there is no such id. held may be null.
std::optional<Account> read_account(Connection& db, const std::string& id, Held* held);

/// The row that read_account reads, or one like it.
Account account_of(const Query& row);

}  // namespace hadal::serve
