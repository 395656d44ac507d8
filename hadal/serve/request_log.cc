#include "hadal/serve/request_log.h"

#include <cmath>

#include <fmt/chrono.h>
#include <nlohmann/json.hpp>

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
