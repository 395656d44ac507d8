#include "hadal/serve/request_log.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <fmt/chrono.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "hadal/core/log.h"
#include "hadal/serve/accounts.h"
#include "hadal/serve/exchange.h"

namespace hadal::serve {
namespace {

std::string time_text(std::chrono::system_clock::time_point now) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now - seconds).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)), ms);
}

// A microsecond is as fine as it gets; null for what has not been.
json milliseconds(double seconds) {
  return seconds < 0.0 ? json() : json(std::round(seconds * 1e6) / 1e3);
}

}  // namespace

RequestLog::RequestLog(std::string path) : path_(std::move(path)) {}

RequestLog::~RequestLog() {
  if (file_ >= 0) ::close(file_);
}

// In one write, so that a reader never sees half a line of a disk that has room. The file is opened anew after a failure: it may
// have been moved or its disk mounted.
bool RequestLog::append(const std::string& line) {
  constexpr mode_t kOwnersOnly = 0600;
  if (file_ < 0) file_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, kOwnersOnly);
  if (file_ < 0) return false;
  for (size_t done = 0; done < line.size();) {
    const ssize_t count = ::write(file_, line.data() + done, line.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int error = count == 0 ? ENOSPC : errno;
      ::close(std::exchange(file_, -1));
      errno = error;
      return false;
    }
    done += static_cast<size_t>(count);
  }
  return true;
}

void RequestLog::write(const json& record) {
  if (!is_on()) return;
  const std::string line = dump(record) + "\n";
  const std::lock_guard lock(mutex_);
  if (append(line)) {
    if (std::exchange(failed_, false)) log_warning("{}: requests are logged again", path_);
    return;
  }
  const int error = errno;
  if (!std::exchange(failed_, true))
    log_warning("{}: cannot be written, requests are not logged: {}", path_, std::strerror(error));
}

json request_record(const Exchange& http, const std::string& model, std::chrono::steady_clock::duration time,
                    bool with_body) {
  const RequestMeter& meter = http.meter;
  const bool generated = !meter.runs().empty();
  json reasons = json::array();
  for (const RequestMeter::Run& run : meter.runs()) reasons.push_back(run.finish_reason);
  json record{{"time", time_text(std::chrono::system_clock::now())},
              {"id", http.id()},
              {"method", http.method_name()},
              {"route", http.route},
              {"status", http.final_status()},
              {"key", http.account() ? json(http.account()->id) : json()},
              {"total_ms", milliseconds(std::chrono::duration<double>(time).count())},
              {"bytes", http.bytes_sent()}};
  if (generated) {
    record.update(json{{"model", model},
                       {"stream", http.streams()},
                       {"prompt_tokens", meter.prompt_tokens()},
                       {"cached_tokens", meter.cached_tokens()},
                       {"completion_tokens", meter.completion_tokens()},
                       {"reasoning_tokens", meter.reasoning_tokens()},
                       {"finish_reasons", reasons},
                       {"queue_ms", milliseconds(meter.queue_seconds())},
                       {"ttft_ms", milliseconds(meter.first_token_seconds())}});
  }
  if (with_body) record["body"] = http.request().body;
  return record;
}

}  // namespace hadal::serve
