#pragma once

#include "hadal/core/json.h"

namespace hadal::serve {

/// The answers of /openapi.json's operations, and Error, as JSON schemas by name.
json response_schemas();

}  // namespace hadal::serve
