#pragma once

#include <chrono>
#include <string>

#include "hadal/core/json.h"

namespace hadal::serve {

class Exchange;

/// A request's line in --request-log (docs/operations.md has the fields): names, numbers and times. What the client wrote is not in
/// it, but for its X-Request-Id and, if `with_body`, the request's body.
json request_record(const Exchange& http, const std::string& model, std::chrono::steady_clock::duration time,
                    bool with_body);

}  // namespace hadal::serve
