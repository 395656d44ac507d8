#pragma once

#include <mutex>
#include <string>

#include "hadal/core/json.h"

namespace hadal::serve {

/// JSON lines, one for each request, appended to a file that only its owner can read. A file that cannot be written, or a disk that
/// is full, is one warning until it works again, and never a reason to refuse a request. Any thread.
class JsonLines {
 public:
  /// path: "" for none. what: what happens to requests, for warnings: "logged".
  JsonLines(std::string path, std::string what);
  ~JsonLines();
  JsonLines(const JsonLines&) = delete;
  JsonLines& operator=(const JsonLines&) = delete;

  bool is_on() const { return !path_.empty(); }
  void write(const json& line);

 private:
  bool append(const std::string& line);

  const std::string path_, what_;
  std::mutex mutex_;
  int file_ = -1;
  bool failed_ = false, torn_ = false;  // torn: the file may end in half a line
};

}  // namespace hadal::serve
