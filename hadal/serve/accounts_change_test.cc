// What an administrator changes later: the limits of a key.
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

}  // namespace
}  // namespace hadal::serve
