// Requests admitted and settled a second: two transactions each. Run it on the disk that will have the accounts (TMPDIR).
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include <benchmark/benchmark.h>

#include "hadal/serve/accounts.h"

namespace hadal::serve {
namespace {

// range(0): whether each commit waits for the disk.
void admit_and_settle(benchmark::State& state) {
  static std::unique_ptr<Accounts> accounts;
  static Account account;
  static std::atomic<int64_t> next_request;
  const auto folder = std::filesystem::temp_directory_path() / "hadal-accounts-bench";
  if (state.thread_index() == 0) {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    accounts = Accounts::open((folder / "a.db").string(),
                              {.serves = true, .sync_every_commit = state.range(0) != 0});
    account = accounts->create({.name = "bench", .balance = kMaxAmount}, Time::now()).first;
  }
  for (auto _ : state) {
    const Time now = Time::now();
    accounts->admit(account, {std::to_string(++next_request), "m", 100, 100}, now).settle({0, 100, 100});
  }
  state.SetItemsProcessed(state.iterations());
  if (state.thread_index() == 0) {
    accounts.reset();
    std::filesystem::remove_all(folder);
  }
}
BENCHMARK(admit_and_settle)->Arg(0)->Arg(1)->ThreadRange(1, 64)->UseRealTime();

}  // namespace
}  // namespace hadal::serve

BENCHMARK_MAIN();
