// What an administrator changes later: a key's limits, and how far back the ledger goes.
#include <filesystem>
#include <string>
#include <vector>

#include "hadal/serve/accounts.h"
#include "hadal/serve/accounts_test_support.h"

namespace hadal::serve {
namespace {

using namespace std::chrono_literals;

TEST_F(AccountsTest, OnlyWhatIsChangedChanges) {
  const auto [account, key] = create({.models = {"a", "b"},
                                      .limits = {.requests_per_minute = 5, .monthly_tokens = 1000},
                                      .balance = 70,
                                      .expires = 1'749'988'800 + 10});
  const Account changed = accounts->update(account.id, [](KeySpec& spec) {
    spec.limits.requests_per_minute.reset();
    spec.limits.tokens_per_minute = 8;
    spec.balance = 1'000'000;  // is for top_up()
  });
  const Account found = accounts->authenticate(key, test_time());
  for (const Account& now : {changed, found}) {
    EXPECT_EQ(now.id, account.id);
    EXPECT_EQ(now.spec.name, "test");
    EXPECT_EQ(now.spec.role, Role::kUser);
    EXPECT_EQ(now.spec.models, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(now.spec.limits.requests_per_minute, std::nullopt);
    EXPECT_EQ(now.spec.limits.tokens_per_minute, 8);
    EXPECT_EQ(now.spec.limits.concurrent_requests, std::nullopt);
    EXPECT_EQ(now.spec.limits.monthly_tokens, 1000);
    EXPECT_EQ(now.spec.balance, 70);
    EXPECT_EQ(now.spec.expires, 1'749'988'810);
    EXPECT_EQ(now.created, 1'749'988'800);
  }
  accounts->update(account.id, [](KeySpec& spec) {
    spec = {.name = "other", .role = Role::kAdmin, .limits = {.concurrent_requests = 3}};
  });
  const Account other = accounts->authenticate(key, test_time(11s));  // it expires no more
  EXPECT_EQ(other.spec.name, "other");
  EXPECT_EQ(other.spec.role, Role::kAdmin);
  EXPECT_TRUE(other.spec.models.empty());
  EXPECT_EQ(other.spec.limits.concurrent_requests, 3);
  EXPECT_EQ(other.spec.limits.monthly_tokens, std::nullopt);
  EXPECT_EQ(other.spec.balance, 70);
}

TEST_F(AccountsTest, ChangesThatCannotBeChangeNothing) {
  const Account account = create({.limits = {.requests_per_minute = 5}}).first;
  const std::vector<std::function<void(KeySpec&)>> wrong{
      [](KeySpec& spec) { spec.name = ""; }, [](KeySpec& spec) { spec.models = {""}; },
      [](KeySpec& spec) { spec.limits.requests_per_minute = 0; },
      [](KeySpec& spec) { spec.limits.monthly_tokens = INT64_MAX; },
      [](KeySpec&) { throw ApiError(422, "no"); }};
  for (const auto& change : wrong) {
    const auto both = [&](KeySpec& spec) {
      spec.limits.concurrent_requests = 1;
      change(spec);
    };
    EXPECT_EQ(refusal_of([&] { accounts->update(account.id, both); }).status(), 422);
  }
  EXPECT_EQ(accounts->find(account.id).spec.limits.concurrent_requests, std::nullopt);
  EXPECT_EQ(accounts->find(account.id).spec.limits.requests_per_minute, 5);
  const auto same = [](KeySpec&) {};
  EXPECT_EQ(refusal_of([&] { accounts->update("nobody", same); }).status(), 404);
  accounts->revoke(account.id, test_time());
  EXPECT_EQ(refusal_of([&] { accounts->update(account.id, same); }).status(), 409);
}

TEST_F(AccountsTest, ALimitHoldsFromTheNextRequestOn) {
  const auto [account, key] = create({.limits = {.requests_per_minute = 1}});
  const auto ask = [&, &secret = key](const std::string& id) {
    return refusal_of([&] {
             accounts->admit(accounts->authenticate(secret, test_time()), {id, "m", 1, 1}, test_time())
                 .settle({0, 1, 1});
           })
        .status();
  };
  EXPECT_EQ(ask("1"), 0);
  EXPECT_EQ(ask("2"), 429);
  const auto command = Accounts::open(path, {});  // as another process would
  command->update(account.id, [](KeySpec& spec) { spec.limits.requests_per_minute.reset(); });
  EXPECT_EQ(ask("2"), 0);
  command->update(account.id, [](KeySpec& spec) { spec.limits.monthly_tokens = 5; });
  EXPECT_EQ(ask("3"), 429);  // 4 are used
  command->update(account.id, [](KeySpec& spec) {
    spec.limits.monthly_tokens.reset();
    spec.models = {"n"};
  });
  EXPECT_EQ(ask("3"), 403);
  expect_exact(path);
}

/// A ledger with old and new requests of one key, and one of each that is open.
class PrunedTest : public AccountsTest {
 protected:
  PrunedTest() : account(create({.limits = {.monthly_tokens = 100'000}, .balance = 100'000}).first) {
    settle("long ago", -40 * 24h);
    settle("the day before", -12h - 1s);
    settle("midnight", -12h);
    settle("today", 0s);
  }
  void settle(const std::string& id, std::chrono::seconds later) {
    accounts->admit(account, {id, "m", 10, 10}, test_time(later)).settle({4, 6, 5});
  }
  int status_of(const std::string& id) {
    return refusal_of([&] { settle(id, 0s); }).status();
  }

  const int64_t today = *parse_day("2025-06-15");
  const Account account;
};

TEST_F(PrunedTest, SettledRequestsOfOlderDaysGo) {
  const Reservation old = accounts->admit(account, {"old and open", "m", 10, 10}, test_time(-40 * 24h));
  const auto before = accounts->usage({});
  EXPECT_EQ(accounts->prune(today), 2);
  EXPECT_EQ(accounts->prune(today), 0);
  EXPECT_EQ(number("SELECT COUNT(*) FROM ledger"), 3);
  EXPECT_EQ(number("SELECT COUNT(*) FROM ledger WHERE request_id IN ('midnight', 'today')"), 2);
  EXPECT_EQ(number("SELECT COUNT(*) FROM ledger WHERE request_id = 'old and open' AND state = 0"), 1);
  const auto after = accounts->usage({});
  ASSERT_EQ(before.size(), 3u);  // one row of May, two of June
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < after.size(); ++i) EXPECT_EQ(to_json(after[i]), to_json(before[i]));
  EXPECT_EQ(*accounts->find(account.id).spec.balance, 100'000 - 4 * 15);
  EXPECT_EQ(number("SELECT held FROM keys"), 20);
  EXPECT_EQ(number("SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
}

// June's tokens: three requests of 15, those that went from the ledger among them.
TEST_F(PrunedTest, TheMonthsQuotaStays) {
  accounts->prune(today + 1);
  EXPECT_EQ(number("SELECT COUNT(*) FROM ledger"), 0);
  accounts->update(account.id, [](KeySpec& spec) { spec.limits.monthly_tokens = 3 * 15 + 19; });
  EXPECT_EQ(refusal_of([&] {
              accounts->admit(accounts->find(account.id), {"next", "m", 10, 10}, test_time());
            }).status(),
            429);
  accounts->update(account.id, [](KeySpec& spec) { spec.limits.monthly_tokens = 3 * 15 + 20; });
  settle("next", 0s);
}

TEST_F(PrunedTest, AnIdThatWentMayComeAgain) {
  accounts->prune(today);
  EXPECT_EQ(status_of("today"), 400);
  EXPECT_EQ(status_of("midnight"), 400);
  EXPECT_EQ(status_of("long ago"), 0);
}

TEST_F(PrunedTest, AnOpenRequestIsSettledAfterwards) {
  Reservation old = accounts->admit(account, {"open", "m", 10, 10}, test_time(-40 * 24h));
  accounts->prune(today);
  old.settle({0, 10, 1});
  EXPECT_EQ(*accounts->find(account.id).spec.balance, 100'000 - 4 * 15 - 11);
  EXPECT_EQ(number("SELECT held FROM keys"), 0);
  EXPECT_EQ(accounts->prune(today), 1);
}

// More than one transaction's worth, and the file gets smaller.
TEST_F(PrunedTest, ManyGoAndTheirSpaceComesBack) {
  constexpr int kRequests = 1'700;
  for (int i = 0; i < kRequests; ++i) settle(std::to_string(i) + std::string(500, 'x'), -24h);
  accounts.reset();
  const auto large = std::filesystem::file_size(path);
  {
    const auto command = Accounts::open(path, {});
    EXPECT_EQ(command->prune(today), kRequests + 2);
  }
  EXPECT_LT(std::filesystem::file_size(path), large / 10);
  reopen();
  EXPECT_EQ(number("SELECT COUNT(*) FROM ledger"), 2);
  EXPECT_EQ(number("SELECT SUM(requests) FROM usage"), kRequests + 4);
  EXPECT_EQ(number("SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
}

}  // namespace
}  // namespace hadal::serve
