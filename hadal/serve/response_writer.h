#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hadal/core/json.h"
#include "hadal/serve/chat_delta.h"

namespace hadal::serve {

/// What a response says of itself beside its request.
struct ResponseFrame {
  std::string id, model;
  int64_t created_at = 0;
  double temperature = 1.0, top_p = 1.0;  // that the request's answer is drawn with
};

/// An answer as OpenAI's POST /v1/responses gives it: output items made of the deltas as they come, and the events of the
/// stream that says so, each an object with its type and number. Pure.
class ResponseWriter {
 public:
  ResponseWriter(const json& body, const ResponseFrame& frame);

  /// The first events.
  void start(std::vector<json>& events);
  /// Appends what the delta makes.
  void take(const ChatDelta& delta, std::vector<json>& events);
  /// The last events: completed, or incomplete when there was no room for more. This or fail() is to be called once.
  void finish(const ChatEnd& end, std::vector<json>& events);
  /// The last events of a response that went wrong.
  void fail(const std::string& message, std::vector<json>& events);

  /// The response so far.
  const json& response() const { return response_; }

 private:
  void open(const ChatDelta& delta, std::vector<json>& events);
  void close(const char* status, std::vector<json>& events);
  void end(const char* status, std::vector<json>& events);
  json about_item(std::string type) const;
  json about_part(std::string type) const;
  void add(json event, std::vector<json>& events);

  json response_;
  json item_;         // the open one, null if there is none
  std::string text_;  // of its part, or its arguments
  int64_t next_number_ = 0;
};

}  // namespace hadal::serve
