#pragma once

#include <string>
#include <vector>

#include "hadal/core/json.h"
#include "hadal/serve/chat_delta.h"

namespace hadal::serve {

/// An assistant's message as Anthropic's POST /v1/messages answers with it: content blocks made of the deltas as they come, and
/// the events of the stream that says so, each an object with its type. Pure.
class MessageWriter {
 public:
  /// `id` also is the thoughts' signature, which nobody checks: clients send only signed thoughts back.
  MessageWriter(std::string id, std::string model);

  /// message_start. The first event.
  json start(const ChatEnd& so_far) const;
  /// Appends what the delta makes. Arguments go out as they are written, even when they turn out to be no JSON.
  void take(const ChatDelta& delta, std::vector<json>& events);
  /// The last events. To be called once.
  void finish(const ChatEnd& end, std::vector<json>& events);
  /// The whole message, after finish(). A tool's input is an object: {"INVALID_JSON": text} if the arguments are none.
  json message(const ChatEnd& end) const;

 private:
  void open(json block, std::vector<json>& events);
  void close(std::vector<json>& events);

  std::string id_, model_;
  json content_ = json::array();
  json block_;             // the open one, null if there is none
  std::string arguments_;  // of the call that is open
};

}  // namespace hadal::serve
