#include "hadal/serve/accounts.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "hadal/serve/accounts_test_support.h"

namespace hadal::serve {
namespace {

using namespace std::chrono_literals;

TEST_F(AccountsTest, AKeyOpensItsAccount) {
  const auto [account, key] = create({.role = Role::kAdmin, .models = {"a", "b"}, .balance = 5});
  const Account found = accounts->authenticate(key, test_time());
  EXPECT_EQ(found.id, account.id);
  EXPECT_EQ(found.spec.name, "test");
  EXPECT_EQ(found.spec.role, Role::kAdmin);
  EXPECT_EQ(found.spec.models, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(found.spec.balance, 5);
  EXPECT_EQ(found.created, 1'749'988'800);
}

TEST_F(AccountsTest, OtherKeysAreRefused) {
  const std::string key = create().second;
  std::string other = key;
  other.back() = other.back() == 'a' ? 'b' : 'a';
  std::string unknown = key;
  unknown[10] = unknown[10] == 'a' ? 'b' : 'a';
  for (const std::string& wrong : {std::string(), std::string("x"), other, unknown, key + "a"})
    EXPECT_EQ(refusal_of([&] { accounts->authenticate(wrong, test_time()); }).status(), 401) << wrong;
}

TEST_F(AccountsTest, RevokedExpiredRotated) {
  const auto [account, key] = create({.expires = 1'749'988'800 + 10});
  accounts->authenticate(key, test_time(9s));
  EXPECT_EQ(refusal_of([&, &secret = key] { accounts->authenticate(secret, test_time(10s)); }).status(), 401);
  const std::string second = accounts->rotate(account.id);
  EXPECT_EQ(refusal_of([&, &secret = key] { accounts->authenticate(secret, test_time()); }).status(), 401);
  EXPECT_EQ(accounts->authenticate(second, test_time()).id, account.id);
  accounts->revoke(account.id, test_time(1s));
  accounts->revoke(account.id, test_time(5s));  // the first time stays
  EXPECT_EQ(accounts->find(account.id).revoked, 1'749'988'801);
  EXPECT_EQ(refusal_of([&] { accounts->authenticate(second, test_time()); }).status(), 401);
  EXPECT_EQ(refusal_of([&, &old = account] { accounts->rotate(old.id); }).status(), 409);
  // Between authenticate and admit, too.
  EXPECT_EQ(refusal_of([&, &old = account] {
              accounts->admit(old, {"r", "m", 1, 1}, test_time());
            }).status(),
            401);
}

// T17: the file has no secret in it.
TEST_F(AccountsTest, SecretsAreNotStored) {
  const std::string first = create().second;
  const std::string second = accounts->rotate(accounts->list().front().id);
  accounts.reset();
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    for (const std::string& key : {first, second})
      EXPECT_EQ(bytes.find(key.substr(19)), std::string::npos) << entry.path();
    EXPECT_EQ(static_cast<int>(entry.status().permissions()), 0600) << entry.path();
  }
  EXPECT_EQ(number("SELECT length(digest) FROM keys"), 64);
}

TEST_F(AccountsTest, SpecsThatCannotBe) {
  const std::vector<KeySpec> wrong{{.name = ""},
                                   {.name = "two\nlines"},
                                   {.name = "\xff"},
                                   {.name = std::string(129, 'x')},
                                   {.name = "x", .models = {""}},
                                   {.name = "x", .limits = {.requests_per_minute = 0}},
                                   {.name = "x", .limits = {.tokens_per_minute = -1}},
                                   {.name = "x", .limits = {.concurrent_requests = INT64_MAX}},
                                   {.name = "x", .balance = -1},
                                   {.name = "x", .balance = kMaxAmount + 1}};
  for (const KeySpec& spec : wrong)
    EXPECT_EQ(refusal_of([&] { accounts->create(spec, test_time()); }).status(), 422);
  for (const std::string id : {"", "nobody"}) {
    EXPECT_EQ(refusal_of([&] { accounts->find(id); }).status(), 404);
    EXPECT_EQ(refusal_of([&] { accounts->revoke(id, test_time()); }).status(), 404);
    EXPECT_EQ(refusal_of([&] { accounts->rotate(id); }).status(), 404);
    EXPECT_EQ(refusal_of([&] { accounts->top_up(id, 1, false); }).status(), 404);
  }
}

TEST_F(AccountsTest, TheWorstCaseIsHeldAndTheRestComesBack) {
  const Account account = create({.balance = 100}).first;
  Reservation request = accounts->admit(account, {"r1", "m", 30, 50}, test_time());
  EXPECT_EQ(number("SELECT held FROM keys"), 80);
  EXPECT_EQ(refusal_of([&] { accounts->admit(account, {"r2", "m", 20, 1}, test_time()); }).status(), 402);
  request.settle({10, 20, 5});
  request.settle({10, 20, 50});  // only the first counts
  EXPECT_EQ(*accounts->find(account.id).spec.balance, 65);
  EXPECT_EQ(number("SELECT held FROM keys"), 0);
  accounts->admit(account, {"r2", "m", 20, 45}, test_time()).settle({0, 20, 45});
  EXPECT_EQ(*accounts->find(account.id).spec.balance, 0);
  EXPECT_EQ(refusal_of([&] { accounts->admit(account, {"r3", "m", 0, 0}, test_time()); }).status(), 402);
  expect_exact(path);
}

TEST_F(AccountsTest, AnIdCountsOnce) {
  const Account account = create({.balance = 100}).first;
  accounts->admit(account, {"r1", "m", 1, 1}, test_time()).settle({0, 1, 1});
  EXPECT_EQ(refusal_of([&] { accounts->admit(account, {"r1", "m", 1, 1}, test_time()); }).status(), 400);
  EXPECT_EQ(*accounts->find(account.id).spec.balance, 98);
  accounts->admit(create().first, {"r1", "m", 1, 1}, test_time()).settle({});  // another key's
  expect_exact(path);
}

TEST_F(AccountsTest, ModelsOfAKey) {
  const Account account = create({.models = {"a"}}).first;
  accounts->admit(account, {"1", "a", 1, 1}, test_time());
  const ApiError error = refusal_of([&] { accounts->admit(account, {"2", "b", 1, 1}, test_time()); });
  EXPECT_EQ(error.status(), 403);
  EXPECT_EQ(error.param(), "model");
}

TEST_F(AccountsTest, AnUnsettledReservationSettlesItself) {
  const Account account = create({.limits = {.concurrent_requests = 1}, .balance = 100}).first;
  {
    Reservation request = accounts->admit(account, {"1", "m", 10, 10}, test_time());
    Reservation moved = std::move(request);
    moved.progress({0, 10, 3});
    EXPECT_EQ(refusal_of([&] { accounts->admit(account, {"2", "m", 1, 1}, test_time()); }).status(), 429);
  }
  EXPECT_EQ(*accounts->find(account.id).spec.balance, 87);
  { const Reservation none = accounts->admit(account, {"2", "m", 10, 10}, test_time()); }
  EXPECT_EQ(*accounts->find(account.id).spec.balance, 87);
  expect_exact(path);
}

TEST_F(AccountsTest, RatesAreGivenBackWhenTheBalanceRefuses) {
  const Account account =
      create({.limits = {.requests_per_minute = 1, .tokens_per_minute = 50}, .balance = 20}).first;
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(refusal_of([&] { accounts->admit(account, {"1", "m", 20, 20}, test_time()); }).status(), 402);
  accounts->admit(account, {"1", "m", 10, 10}, test_time());
  const ApiError error = refusal_of([&] { accounts->admit(account, {"2", "m", 0, 1}, test_time()); });
  EXPECT_EQ(error.status(), 429);
  EXPECT_EQ(error.retry_after, 60);
}

// T40: days and months go by the calendar, rates by the clock that nobody sets.
TEST_F(AccountsTest, MonthlyTokens) {
  const Account account = create({.limits = {.monthly_tokens = 100}}).first;
  Time now = test_time();
  Reservation first = accounts->admit(account, {"1", "m", 40, 20}, now);
  const ApiError error = refusal_of([&] { accounts->admit(account, {"2", "m", 40, 1}, now); });
  EXPECT_EQ(error.status(), 429);
  EXPECT_EQ(error.retry_after, (15 * 24 + 12) * 3600 + 1);  // June has 30 days; just after midnight
  first.settle({0, 40, 0});
  accounts->admit(account, {"2", "m", 40, 20}, now).settle({0, 40, 20});
  EXPECT_EQ(refusal_of([&] { accounts->admit(account, {"3", "m", 1, 0}, now); }).status(), 429);
  now.wall += 15 * 24h + 12h - 1s;
  EXPECT_EQ(refusal_of([&] { accounts->admit(account, {"3", "m", 1, 0}, now); }).retry_after, 2);
  now.wall += 1s;
  accounts->admit(account, {"3", "m", 50, 50}, now).settle({0, 50, 50});
}

TEST_F(AccountsTest, PricesByModel) {
  accounts->set_price("deepseek-chat", {70'000, 270'000, 1'100'000});
  const Account account = create({.balance = 10 * kMicro}).first;
  Reservation request = accounts->admit(account, {"1", "deepseek-chat", 2'000'000, 1'000'000}, test_time());
  EXPECT_EQ(number("SELECT held FROM keys"), 540'000 + 1'100'000);  // no hits in the worst case
  accounts->set_price("deepseek-chat", {0, 0, 0});                  // not for what is admitted
  request.settle({1'000'000, 1'000'000, 500'000});
  EXPECT_EQ(*accounts->find(account.id).spec.balance, 10 * kMicro - (70'000 + 270'000 + 550'000));
  accounts->remove_price("deepseek-chat");
  EXPECT_EQ(refusal_of([&] { accounts->remove_price("deepseek-chat"); }).status(), 404);
  EXPECT_EQ(refusal_of([&] { accounts->remove_price("*"); }).status(), 404);
  accounts->admit(account, {"2", "deepseek-chat", 7, 0}, test_time()).settle({0, 7, 0});
  EXPECT_EQ(number("SELECT cost FROM ledger WHERE request_id = '2'"), 7);
  EXPECT_EQ(refusal_of([&] { accounts->set_price("m", {-1, 0, 0}); }).status(), 422);
  EXPECT_EQ(refusal_of([&] { accounts->set_price("m", {0, 0, kMaxPrice + 1}); }).status(), 422);
}

// The form that DeepSeek documents for GET /user/balance.
TEST_F(AccountsTest, Balance) {
  const Account account = create({.balance = 100 * kMicro}).first;
  accounts->set_currency("CNY");
  accounts->top_up(account.id, 10 * kMicro, true);
  EXPECT_EQ(accounts->balance(account.id).dump(),
            R"({"is_available":true,"balance_infos":[{"currency":"CNY","total_balance":"110.00",)"
            R"("granted_balance":"10.00","topped_up_balance":"100.00"}]})");
  accounts->admit(account, {"1", "m", 15'000'000, 0}, test_time()).settle({0, 15'000'000, 0});
  EXPECT_EQ(accounts->balance(account.id)["balance_infos"][0]["granted_balance"], "0.00");  // gifts first
  EXPECT_EQ(accounts->balance(account.id)["balance_infos"][0]["total_balance"], "95.00");
  accounts->top_up(account.id, kMicro, true);
  EXPECT_EQ(accounts->balance(account.id)["balance_infos"][0]["granted_balance"], "1.00");
  const Account free = create().first;
  EXPECT_EQ(accounts->balance(free.id).dump(), R"({"is_available":true,"balance_infos":[]})");
  EXPECT_EQ(refusal_of([&] { accounts->top_up(free.id, 1, false); }).status(), 409);
  EXPECT_EQ(refusal_of([&] { accounts->top_up(account.id, 0, false); }).status(), 422);
  EXPECT_EQ(accounts->balance(create({.balance = 0}).first.id)["is_available"], false);
}

TEST_F(AccountsTest, UsageByDayModelAndKey) {
  KeySpec spec{.name = "a, \"b\""};
  const Account first = accounts->create(spec, test_time()).first;
  const Account second = accounts->create({.name = "c"}, test_time(1s)).first;
  accounts->admit(first, {"1", "m", 10, 10}, test_time()).settle({4, 6, 5});
  accounts->admit(first, {"2", "m", 10, 10}, test_time()).settle({0, 10, 1});
  accounts->admit(first, {"3", "n", 10, 10}, test_time()).settle({0, 10, 2});
  accounts->admit(second, {"4", "m", 10, 10}, test_time(24h)).settle({0, 10, 3});
  const std::vector<UsageRow> rows = accounts->usage({});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(format_day(rows[0].day), "2025-06-15");
  EXPECT_EQ(rows[0].requests, 2);
  EXPECT_EQ(rows[0].usage, (Usage{4, 16, 6}));
  EXPECT_EQ(rows[0].cost, 26);
  EXPECT_EQ(
      usage_csv({rows[0]}, "USD"),
      "day,key,name,model,requests,prompt_cache_hit_tokens,prompt_cache_miss_tokens,completion_tokens,cost,"
      "currency\r\n2025-06-15," +
          first.id + ",\"a, \"\"b\"\"\",m,2,4,16,6,0.000026,USD\r\n");
  EXPECT_EQ(accounts->usage({.from_day = parse_day("2025-06-16")}).size(), 1u);
  EXPECT_EQ(accounts->usage({.to_day = parse_day("2025-06-15")}).size(), 2u);
  EXPECT_EQ(accounts->usage({.key = second.id}).size(), 1u);
  EXPECT_EQ(accounts->usage({.model = "n"}).size(), 1u);
  EXPECT_EQ(accounts->usage({.model = "' OR 1=1 --"}).size(), 0u);
  expect_exact(path);
}

TEST(AccountsDay, Parse) {
  EXPECT_EQ(parse_day("1970-01-01"), 0);
  EXPECT_EQ(parse_day("2024-02-29"), 19782);  // 54 years with 13 leap days before, 31 + 28 days
  EXPECT_EQ(format_day(19782), "2024-02-29");
  for (const char* text :
       {"", "2025-02-29", "2025-13-01", "2025-00-01", "2025-1-1", "2025-01-1x", "20250101--"})
    EXPECT_EQ(parse_day(text), std::nullopt) << text;
}

// T38: by balance, by the month's tokens, by running requests.
TEST_F(AccountsTest, SixtyFourThreadsRaceForAHundred) {
  const std::vector<KeySpec> specs{
      {.balance = 1000}, {.limits = {.monthly_tokens = 1000}}, {.limits = {.requests_per_minute = 100}}};
  for (size_t which = 0; which < specs.size(); ++which) {
    const Account account = create(specs[which]).first;
    std::atomic<int> admitted{0}, refused{0};
    std::vector<std::thread> threads;
    threads.reserve(64);
    for (int i = 0; i < 64; ++i) {
      threads.emplace_back([&, i] {
        for (int j = 0; j < 5; ++j) {
          const Work work{std::to_string(i * 100 + j), "m", 4, 6};
          const int status = refusal_of([&] {
                               accounts->admit(account, work, test_time()).settle({0, 4, 6});
                             }).status();
          (status == 0 ? admitted : refused) += 1;
          EXPECT_TRUE(status == 0 || status == (which == 0 ? 402 : 429)) << status;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(admitted, 100) << which;
    EXPECT_EQ(refused, 220) << which;
  }
  expect_exact(path);
}

TEST_F(AccountsTest, TheCommandSeesAndChangesARunningServersFile) {
  const auto [account, key] = create({.balance = 10});
  Reservation request = accounts->admit(account, {"1", "m", 5, 5}, test_time());
  {
    const auto command = Accounts::open(path, {});
    EXPECT_EQ(command->list().size(), 1u);
    command->top_up(account.id, 7, false);
    command->revoke(account.id, test_time());
  }
  EXPECT_EQ(refusal_of([&, &secret = key] { accounts->authenticate(secret, test_time()); }).status(), 401);
  request.settle({0, 5, 5});  // what was admitted goes on, and opening beside it has not settled it
  EXPECT_EQ(*accounts->find(account.id).spec.balance, 7);
  EXPECT_TRUE(
      contains(error_of(ErrorKind::kUsage, [&] { Accounts::open(path, {.serves = true}); }), "in use"));
}

TEST_F(AccountsTest, EverythingIsThereAfterReopening) {
  const auto [account, key] = create({.balance = 100});
  accounts->admit(account, {"1", "m", 5, 5}, test_time()).settle({0, 5, 5});
  reopen();
  EXPECT_EQ(*accounts->authenticate(key, test_time()).spec.balance, 90);
  EXPECT_EQ(refusal_of([&, &same = account] {
              accounts->admit(same, {"1", "m", 1, 1}, test_time());
            }).status(),
            400);
}

}  // namespace
}  // namespace hadal::serve
