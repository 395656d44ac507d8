// What is left when the process is killed, when the disk is full, and when the file is another one.
#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hadal/serve/accounts_test_support.h"

namespace hadal::serve {
namespace {

#ifdef HADAL_SANITIZED
constexpr int kKills = 8;
#else
constexpr int kKills = 40;  // T37
#endif
constexpr int kThreads = 3;
constexpr int64_t kChunk = 7, kPrompt = 11, kMostChunks = 40;
constexpr int64_t kBalance = 1'000'000'000;

// What the child says that a client has got: less than PIPE_BUF, so it arrives whole.
struct Ack {
  int64_t request, completion_tokens, is_settled;
};

// Serves for ever: each thread one request after the other, in chunks, acknowledging what it was allowed to send.
[[noreturn]] void serve_until_killed(const std::string& path, int out, int64_t first_request) {
  const auto accounts = Accounts::open(path, {.serves = true});
  const Account account = accounts->list().front();
  const auto work = [&](int64_t thread) {
    std::mt19937 random(static_cast<unsigned>(first_request + thread));
    for (int64_t request = first_request + thread;; request += kThreads) {
      Reservation reservation = accounts->admit(
          account, {std::to_string(request), "m", kPrompt, kChunk * kMostChunks}, test_time());
      const auto chunks = static_cast<int64_t>(random() % kMostChunks);
      Ack ack{request, 0, 0};
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        ack.completion_tokens += kChunk;
        reservation.progress({0, kPrompt, ack.completion_tokens});
        if (write(out, &ack, sizeof ack) != sizeof ack) _exit(1);
      }
      reservation.settle({0, kPrompt, ack.completion_tokens});
      ack.is_settled = 1;
      if (write(out, &ack, sizeof ack) != sizeof ack) _exit(1);
    }
  };
  std::vector<std::thread> threads;
  for (int64_t i = 1; i < kThreads; ++i) threads.emplace_back(work, i);
  work(0);
  _exit(1);
}

// The last acknowledgement of each request of a child that lived so long.
std::map<int64_t, Ack> acknowledged(const std::string& path, int64_t first_request, unsigned microseconds) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    try {
      serve_until_killed(path, ends[1], first_request);
    } catch (const std::exception& e) {
      std::fprintf(stderr, "child: %s\n", e.what());
      _exit(2);
    }
  }
  close(ends[1]);
  std::map<int64_t, Ack> last;
  std::thread killer([&] {
    usleep(microseconds);
    kill(child, SIGKILL);
  });
  Ack ack{};
  while (read(ends[0], &ack, sizeof ack) == sizeof ack) last[ack.request] = ack;
  killer.join();
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "exit code " << WEXITSTATUS(status);
  return last;
}

TEST_F(AccountsTest, KilledAtAnyMoment) {
  const Account account = create({.balance = kBalance}).first;
  std::mt19937 random(std::random_device{}());
  int64_t next_request = 0, open_rows = 0;
  for (int round = 0; round < kKills; ++round) {
    accounts.reset();
    const auto acks = acknowledged(path, next_request, static_cast<unsigned>(2'000 + random() % 60'000));
    open_rows += number("SELECT COUNT(*) FROM ledger WHERE state = 0");
    reopen();
    ASSERT_EQ(number("SELECT COUNT(*) FROM ledger WHERE state = 0"), 0);
    expect_exact(path);
    EXPECT_EQ(*accounts->find(account.id).spec.balance, kBalance - number("SELECT SUM(cost) FROM ledger"));
    for (const auto& [request, ack] : acks) {
      const std::string where = " FROM ledger WHERE request_id = '" + std::to_string(request) + "'";
      const int64_t charged = number("SELECT completion_tokens" + where);
      EXPECT_EQ(number("SELECT miss_tokens" + where), kPrompt);
      if (ack.is_settled != 0) {
        EXPECT_EQ(charged, ack.completion_tokens);
        EXPECT_EQ(number("SELECT state" + where), 1);
      } else {  // the rule: less than kProgressTokens behind; ahead by what was written down and not sent
        EXPECT_GT(charged, ack.completion_tokens - Accounts::kProgressTokens);
        EXPECT_LE(charged, ack.completion_tokens + kChunk);
      }
    }
    next_request = number("SELECT COALESCE(MAX(CAST(request_id AS INTEGER)), 0) FROM ledger") + kThreads + 1;
  }
  EXPECT_GT(open_rows, 0) << "no kill came in the middle of a request";
}

constexpr int kSkipped = 77;

// Runs in a child of its own, because it changes what the process may do; the child's failures are on stderr.
void expect_in_child(const std::function<void()>& test) {
  const pid_t child = fork();
  if (child == 0) {
    test();
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kSkipped) GTEST_SKIP() << "not allowed here";
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

// Admits and settles until that fails, then sees that all works again after `repair`.
void fill_and_repair(const std::string& path, const std::function<void()>& repair) {
  const auto accounts = Accounts::open(path, {.serves = true});
  accounts->set_price("*", {kMicro, kMicro, kMicro});
  const Account account = accounts->create({.name = "x", .balance = kBalance}, test_time()).first;
  Reservation open = accounts->admit(account, {"open", "m", 1, 1}, test_time());
  int64_t charged = 0;
  ApiError error(0, "");
  for (int i = 0; error.status() == 0 && i < 100'000; ++i) {
    error = refusal_of([&] {
      Reservation request =
          accounts->admit(account, {std::to_string(i) + std::string(400, 'x'), "m", 1, 1}, test_time());
      request.settle({0, 1, 1});
      charged += 2;  // who does not get the end of an answer, and no beginning either, does not pay for it
    });
  }
  EXPECT_EQ(error.status(), 503);
  EXPECT_TRUE(error.retry_after.has_value());
  EXPECT_FALSE(contains(error.what(), path));
  accounts->find(account.id);  // reading goes on
  open.progress({0, 1, 1});    // and this does not throw
  EXPECT_EQ(refusal_of([&] { open.settle({0, 1, 1}); }).status(), 503);
  EXPECT_EQ(refusal_of([&] { accounts->admit(account, {"again", "m", 1, 1}, test_time()); }).status(), 503);
  repair();
  accounts->admit(account, {"again", "m", 1, 1}, test_time()).settle({0, 1, 1});
  EXPECT_EQ(*accounts->find(account.id).spec.balance, kBalance - charged - 2 - 2);
  expect_exact(path);
}

TEST(AccountsDisk, AFileThatMayNotGrow) {
  const TempFolder folder;
  expect_in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{300'000, RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &limit);
    fill_and_repair(folder.path("a.db"), [] {
      const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
      setrlimit(RLIMIT_FSIZE, &none);
    });
  });
}

TEST(AccountsDisk, AFullOne) {
  const TempFolder folder;
  const std::string at = folder.path();
  expect_in_child([&] {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", at.c_str(), "tmpfs", 0, "size=400k") != 0)
      _exit(kSkipped);
    fill_and_repair(at + "/a.db", [&] { mount("none", at.c_str(), "tmpfs", MS_REMOUNT, "size=64m"); });
  });
}

TEST(AccountsDisk, AFileThatIsReadOnly) {
  const TempFolder folder;
  const std::string file = folder.path("a.db");
  Accounts::open(file, {})->create({.name = "x"}, test_time());
  std::filesystem::permissions(folder.path(), std::filesystem::perms::all);
  std::filesystem::permissions(file, std::filesystem::perms(0444));
  std::filesystem::remove(file + "-lock");
  expect_in_child([&] {
    if (geteuid() == 0 && setuid(65534) != 0) _exit(kSkipped);
    const std::string message = error_of(ErrorKind::kIo, [&] { Accounts::open(file, {.serves = true}); });
    EXPECT_TRUE(contains(message, {file, "read-only"}));
    const auto accounts = Accounts::open(file, {});
    EXPECT_EQ(accounts->list().size(), 1u);
    EXPECT_EQ(refusal_of([&] { accounts->create({.name = "y"}, test_time()); }).status(), 503);
  });
}

TEST(AccountsOpen, WhatIsNoAccountsDatabase) {
  const TempFolder folder;
  const auto open = [](const std::string& path) {
    return [path] { Accounts::open(path, {.serves = true}); };
  };
  const std::string text = folder.write("text.db", std::string(5000, 'x'));
  EXPECT_TRUE(contains(error_of(ErrorKind::kIo, open(text)), {text, "not a database"}));
  EXPECT_TRUE(contains(error_of(ErrorKind::kIo, open(folder.path("no/a.db"))), "no/a.db"));
  EXPECT_TRUE(contains(error_of(ErrorKind::kIo, open(folder.path())), folder.path()));

  const auto change = [](const std::string& path, const char* sql) {
    sqlite3* db = nullptr;
    EXPECT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    sqlite3_close(db);
  };
  const std::string other = folder.path("other.db");
  change(other, "CREATE TABLE t(x)");
  EXPECT_TRUE(contains(error_of(ErrorKind::kConfig, open(other)), {other, "another program"}));

  const std::string newer = folder.path("newer.db");
  Accounts::open(newer, {});
  change(newer, "PRAGMA user_version = 99");
  EXPECT_TRUE(contains(error_of(ErrorKind::kConfig, open(newer)), {newer, "version 99", "newer"}));

  const std::string damaged = folder.path("damaged.db");
  Accounts::open(damaged, {});
  std::fstream(damaged, std::ios::in | std::ios::out | std::ios::binary)
      .seekp(100)
      .write("\xff\xff\xff\xff", 4);
  error_of(ErrorKind::kIo, open(damaged));
}

}  // namespace
}  // namespace hadal::serve
