#include "hadal/serve/generation.h"

#include <mutex>
#include <optional>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace hadal::serve {
namespace {

// Events that wait for a client who reads more slowly than the model writes. Then it is cut off.
constexpr size_t kMaxEvents = 4096;

bool is_last(const engine::Event& event) {
  return std::holds_alternative<engine::FinishedEvent>(event) ||
         std::holds_alternative<engine::FailedEvent>(event);
}

}  // namespace

// Filled by the engine's thread, emptied on the strand; the timer is the strand's.
struct Generation::Inbox : std::enable_shared_from_this<Inbox> {
  explicit Inbox(const asio::any_io_executor& executor) : timer(executor) {}

  void put(size_t number, const engine::Event& event) {
    const std::lock_guard lock(mutex);
    if (items.size() >= kMaxEvents && !is_last(event)) {
      overflow = number;
      return;
    }
    items.push_back({number, event});
    if (std::exchange(woken, true)) return;
    asio::post(timer.get_executor(), [self = shared_from_this()] { self->timer.cancel(); });
  }

  std::mutex mutex;
  std::vector<Item> items;
  bool woken = false;
  std::optional<size_t> overflow;  // whose events did not fit any more
  asio::steady_timer timer;
  bool interrupted = false;
};

Generation::Generation(Exchange& http, Service& service, int64_t num_choices)
    : service_(service),
      loop_(service.engine()),
      meter_(http.meter),
      inbox_(std::make_shared<Inbox>(http.executor())) {
  meter_.begin(service.metrics, static_cast<size_t>(num_choices));
}

Generation::~Generation() {
  for (size_t i = 0; i < tickets_.size(); ++i) {
    withdraw(i);
    meter_.end(i, "abort", std::chrono::steady_clock::now());
  }
}

void Generation::submit(size_t number, engine::Request request) {
  if (tickets_.size() <= number) tickets_.resize(number + 1, 0);
  const int64_t prompt_tokens = std::ssize(request.prompt);
  tickets_[number] = loop_.submit(std::move(request), [inbox = inbox_, number](const engine::Event& event) {
    inbox->put(number, event);
  });
  meter_.submit(number, prompt_tokens, std::chrono::steady_clock::now());
}

void Generation::cancel(size_t number) {
  withdraw(number);
  meter_.end(number, "stop", std::chrono::steady_clock::now());
}

void Generation::withdraw(size_t number) {
  if (number >= tickets_.size() || tickets_[number] == 0) return;
  loop_.cancel(std::exchange(tickets_[number], 0));
}

void Generation::interrupt() {
  inbox_->interrupted = true;
  inbox_->timer.cancel();
}

void Generation::note(const std::vector<Item>& items) {
  if (items.empty()) return;
  const auto now = std::chrono::steady_clock::now();
  for (const Item& item : items) {
    meter_.see(item.number, item.event, now);
    if (is_last(item.event)) tickets_[item.number] = 0;
  }
  meter_.end_of_batch(now);
  service_.speed.see(loop_, now);
}

asio::awaitable<std::vector<Generation::Item>> Generation::next(std::chrono::steady_clock::duration timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (true) {
    std::vector<Item> items;
    std::optional<size_t> overflow;
    {
      const std::lock_guard lock(inbox_->mutex);
      items = std::exchange(inbox_->items, {});
      inbox_->woken = false;
      overflow = std::exchange(inbox_->overflow, std::nullopt);
    }
    if (overflow) {
      items.push_back({*overflow, engine::FailedEvent{0, ErrorKind::kRequest,
                                                      "the client reads more slowly than the model writes"}});
    }
    note(items);
    if (!items.empty() || inbox_->interrupted || std::chrono::steady_clock::now() >= deadline)
      co_return items;
    inbox_->timer.expires_at(deadline);
    boost::system::error_code ignored;
    auto token = asio::redirect_error(asio::use_awaitable, ignored);
    co_await inbox_->timer.async_wait(token);
  }
}

}  // namespace hadal::serve
