#include "hadal/serve/json_lines.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "hadal/core/log.h"
#include "hadal/serve/exchange.h"

namespace hadal::serve {

JsonLines::JsonLines(std::string path, std::string what) : path_(std::move(path)), what_(std::move(what)) {}

JsonLines::~JsonLines() {
  if (file_ >= 0) ::close(file_);
}

// In one write, so that a reader never sees half a line of a disk that has room. The file is opened anew after a failure: it may
// have been moved or its disk mounted.
bool JsonLines::append(const std::string& line) {
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
    torn_ = true;
    done += static_cast<size_t>(count);
  }
  torn_ = false;
  return true;
}

void JsonLines::write(const json& line) {
  if (!is_on()) return;
  const std::string text = dump(line) + "\n";
  const std::lock_guard lock(mutex_);
  if (append(torn_ ? "\n" + text : text)) {
    if (std::exchange(failed_, false)) log_warning("{}: requests are {} again", path_, what_);
    return;
  }
  const int error = errno;
  if (!std::exchange(failed_, true))
    log_warning("{}: cannot be written, requests are not {}: {}", path_, what_, std::strerror(error));
}

}  // namespace hadal::serve
