#include "hadal/serve/api_error.h"

#include <nlohmann/json.hpp>

namespace hadal::serve {
namespace {

const char* openai_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 402:
      return "insufficient_balance";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 500:
      return "server_error";
    case 503:
      return "unavailable_error";
    case 504:
      return "timeout_error";
    default:
      return "invalid_request_error";
  }
}

const char* anthropic_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 500:
      return "api_error";
    case 503:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return "invalid_request_error";
  }
}

}  // namespace

json openai_error(const ApiError& error) {
  json body{{"message", error.what()},
            {"type", openai_type(error.status())},
            {"param", error.param().empty() ? json() : json(error.param())},
            {"code", openai_type(error.status())}};
  if (error.details.is_object()) body.update(error.details);
  return {{"error", body}};
}

json anthropic_error(const ApiError& error) {
  return {{"type", "error"},
          {"error", {{"type", anthropic_type(error.status())}, {"message", error.what()}}}};
}

int anthropic_status(int status) {
  return status == 503 ? 529 : status;
}

ApiError to_api_error(const Error& error) {
  if (error.kind() == ErrorKind::kRequest) return ApiError(400, error.what());
  if (error.kind() == ErrorKind::kCapacity) return ApiError(429, error.what());
  return ApiError(500, error.what());
}

}  // namespace hadal::serve
