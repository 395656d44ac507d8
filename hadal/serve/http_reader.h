#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "hadal/serve/exchange.h"

namespace hadal::serve {

struct HttpLimits {
  int64_t max_header_bytes = 16 << 10;
  int64_t max_fields = 64;
  int64_t max_body_bytes = 8 << 20;
};

/// Reads one request after the other out of a connection's bytes (HTTP/1.1, Boost.Beast's parser), however they are cut. What
/// could be read in two ways is refused, as RFC 9112 sections 3.2, 5.2 and 6.3 advise: folded lines, a length beside chunks or
/// twice, other codings than chunked, no Host. Fields behind the last chunk are skipped: they could say what was checked in the
/// header once more. No network in it: the caller puts bytes in.
class HttpReader {
 public:
  explicit HttpReader(HttpLimits limits);
  ~HttpReader();
  HttpReader(const HttpReader&) = delete;
  HttpReader& operator=(const HttpReader&) = delete;

  enum class State : uint8_t {
    kIdle,    // nothing of a request yet
    kHeader,  // a part of its header
    kBody,    // its header, and perhaps a part of its body
    kDone,    // all of it: take()
  };

  /// Takes these bytes in; none are needed to go on with those behind the request that was taken. Throws ApiError: 400 for what
  /// is no request, 413, 431; the connection is of no use then.
  void put(std::string_view bytes);
  State state() const { return state_; }
  /// True once, when the client waits for a "100 Continue" before it sends the body.
  bool wants_continue();
  /// The request; the bytes after it begin the next one.
  HttpRequest take();

 private:
  void begin();
  void parse();
  void refuse_folded_lines() const;
  void check_header() const;
  void read_header();

  struct Parser;
  HttpLimits limits_;
  std::unique_ptr<Parser> parser_;
  HttpRequest request_;  // what its header says
  std::string bytes_;    // not parsed yet
  State state_ = State::kIdle;
  bool wants_continue_ = false;
};

}  // namespace hadal::serve
