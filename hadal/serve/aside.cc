#include "hadal/serve/aside.h"

#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace hadal::serve {
namespace {

// A request of so many bytes is read in some milliseconds, less than a step takes.
constexpr size_t kSmallBytes = size_t{16} << 10;

asio::awaitable<void> call(std::function<void()> work) {
  work();
  co_return;
}

}  // namespace

asio::awaitable<void> Aside::run(std::function<void()> work) {
  asio::awaitable<void> job = call(std::move(work));
  co_await asio::co_spawn(pool_->get_executor(), std::move(job), asio::use_awaitable);
}

asio::awaitable<void> Aside::read(const Exchange& http, std::function<void()> work) {
  if (http.request().body.size() <= kSmallBytes) {
    work();
    co_return;
  }
  co_await run(std::move(work));
}

void Aside::finish() {
  pool_->stop();
  pool_->join();
  pool_.reset();
}

}  // namespace hadal::serve
