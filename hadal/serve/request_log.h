#pragma once

#include <chrono>
#include <mutex>
#include <string>

#include "hadal/core/json.h"

namespace hadal::serve {

class Exchange;

/// JSON lines, one for each request, appended to a file (--request-log; docs/operations.md has the fields). A file that cannot be
/// written, or a disk that is full, is one warning until it works again, and never a reason to refuse a request. Any thread.
class RequestLog {
 public:
  /// "" : none.
  explicit RequestLog(std::string path);
  ~RequestLog();
  RequestLog(const RequestLog&) = delete;
  RequestLog& operator=(const RequestLog&) = delete;

  bool is_on() const { return !path_.empty(); }
  void write(const json& record);

 private:
  bool append(const std::string& line);

  const std::string path_;
  std::mutex mutex_;
  int file_ = -1;
  bool failed_ = false;
};

/// A request's line: names, numbers and times. What the client wrote is not in it, but for its X-Request-Id and, if `with_body`,
/// the request's body.
json request_record(const Exchange& http, const std::string& model, std::chrono::steady_clock::duration time,
                    bool with_body);

}  // namespace hadal::serve
