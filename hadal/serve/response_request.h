#pragma once

#include "hadal/core/json.h"

namespace hadal::serve {

/// The input of a body of POST /v1/responses as a list of items. Throws ApiError 400.
json input_items(const json& body);

/// The body as one of /v1/chat/completions, where sampling, tools and templates are understood. `earlier`: the items of
/// previous_response_id, which come first. Throws ApiError: 400 for another type, 422 for what is out of range.
json chat_of_responses(const json& body, const json& earlier);

}  // namespace hadal::serve
