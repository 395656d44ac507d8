#include "hadal/serve/generation.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/core/log.h"
#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

// Events that wait for a client who reads more slowly than the model writes. Then it is cut off.
constexpr size_t kMaxEvents = 4096;

bool is_last(const engine::Event& event) {
  return std::holds_alternative<engine::FinishedEvent>(event) ||
         std::holds_alternative<engine::FailedEvent>(event);
}

std::chrono::steady_clock::time_point deadline_of(const Exchange& http, const Service& service) {
  const auto time = service.options.request_timeout;
  return time.count() > 0.0
             ? http.meter.received() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(time)
             : std::chrono::steady_clock::time_point::max();
}

RecordEnd end_of(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kStop:
      return RecordEnd::kStop;
    case engine::FinishReason::kLength:
      return RecordEnd::kLength;
    case engine::FinishReason::kCancelled:
      break;
  }
  return RecordEnd::kAbort;
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
    : http_(http),
      service_(service),
      loop_(service.engine()),
      meter_(http.meter),
      inbox_(std::make_shared<Inbox>(http.executor())),
      deadline_(deadline_of(http, service)) {
  meter_.begin(service.metrics, static_cast<size_t>(num_choices));
}

Generation::~Generation() {
  for (size_t i = 0; i < tickets_.size(); ++i) {
    withdraw(i);
    write_end(i, RecordEnd::kAbort);
    meter_.end(i, "abort", std::chrono::steady_clock::now());
  }
}

void Generation::submit(size_t number, Submission submission) {
  if (tickets_.size() <= number) tickets_.resize(number + 1, 0);
  const int64_t prompt_tokens = std::ssize(submission.prompt);
  auto request = engine_request(submission, service_.grammars, service_.config.vocab_size);
  // Log-probabilities change nothing else, and tell more than tokens do.
  if (service_.record.is_on()) request.sampling.num_logprobs = std::max(request.sampling.num_logprobs, 0);
  tickets_[number] = loop_.submit(std::move(request), [inbox = inbox_, number](const engine::Event& event) {
    inbox->put(number, event);
  });
  meter_.submit(number, prompt_tokens, std::chrono::steady_clock::now());
  if (!service_.record.is_on()) return;
  RequestRecord& record = records_[number];
  record.version = service_.version;
  record.model = service_.identity;
  record.id = http_.id();
  record.index = static_cast<int64_t>(number);
  record.submission = std::move(submission);
}

void Generation::cancel(size_t number) {
  withdraw(number);
  write_end(number, RecordEnd::kStopString);
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
    write_down(item.number, item.event);
    if (is_last(item.event)) tickets_[item.number] = 0;
  }
  meter_.end_of_batch(now);
  service_.speed.see(loop_, now);
}

// A request's time is up; what still runs is cancelled when the caller lets go of this. Whoever tries again would only make the
// engine begin anew.
void Generation::check_time(std::chrono::steady_clock::time_point now) {
  if (now < deadline_ || std::ranges::all_of(tickets_, [](auto ticket) { return ticket == 0; })) return;
  if (!http_.began()) http_.add_field("X-Should-Retry", "false");
  throw ApiError(504, fmt::format("This took longer than the {} s that the server gives a request.",
                                  service_.options.request_timeout.count()));
}

void Generation::write_down(size_t number, const engine::Event& event) {
  const auto found = records_.find(number);
  if (found == records_.end()) return;
  RequestRecord& record = found->second;
  if (const auto* prompt = std::get_if<engine::PromptEvent>(&event)) {
    for (const engine::Sampled& sampled : prompt->tokens) record.prompt_logprobs.push_back(sampled.logprob);
  } else if (const auto* token = std::get_if<engine::TokenEvent>(&event)) {
    record.tokens.push_back(token->sampled.token);
    record.logprobs.push_back(token->sampled.logprob);
  } else if (const auto* finished = std::get_if<engine::FinishedEvent>(&event)) {
    write_end(number, end_of(finished->reason));
  } else if (std::holds_alternative<engine::FailedEvent>(event)) {
    write_end(number, RecordEnd::kError);
  }
}

// On a thread of the connections', never the engine's; and whatever happens, the answer goes out.
void Generation::write_end(size_t number, RecordEnd end) noexcept {
  const auto found = records_.find(number);
  if (found == records_.end()) return;
  try {
    found->second.end = end;
    service_.record.write(to_json(found->second));
  } catch (const std::exception& e) {
    log_warning("request {} is not recorded: {}", http_.id(), e.what());
  }
  records_.erase(found);
}

asio::awaitable<std::vector<Generation::Item>> Generation::next(std::chrono::steady_clock::duration timeout) {
  const auto deadline = std::min(std::chrono::steady_clock::now() + timeout, deadline_);
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
    const auto now = std::chrono::steady_clock::now();
    check_time(now);
    if (!items.empty() || inbox_->interrupted || now >= deadline) co_return items;
    inbox_->timer.expires_at(deadline);
    boost::system::error_code ignored;
    auto token = asio::redirect_error(asio::use_awaitable, ignored);
    co_await inbox_->timer.async_wait(token);
  }
}

}  // namespace hadal::serve
