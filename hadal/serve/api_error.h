#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include <nlohmann/json.hpp>

#include "hadal/core/error.h"
#include "hadal/core/json.h"

namespace hadal::serve {

/// A refusal as a client sees it. Statuses are those that DeepSeek documents: 400 format, 401 key, 402 balance, 403 not
/// for this key, 404 path or model, 413 size, 422 value out of range, 429 rate or queue, 500 our fault, 503 not now, 504 it took too long.
class ApiError : public std::runtime_error {
 public:
  ApiError(int status, const std::string& message, std::string param = "")
      : std::runtime_error(message), status_(status), param_(std::move(param)) {}

  int status() const noexcept { return status_; }
  /// The request's field that is at fault; empty if it is no single one.
  const std::string& param() const noexcept { return param_; }
  /// Seconds after which it may be worth trying again (Retry-After).
  std::optional<int64_t> retry_after;
  /// Further members of the error object (n_prompt_tokens, ...); null: none.
  json details;

 private:
  int status_;
  std::string param_;
};

/// {"error": {"message", "type", "param", "code"}}: the form that OpenAI, DeepSeek and vLLM share.
json openai_error(const ApiError& error);
/// {"type": "error", "error": {"type", "message"}}: Anthropic's. Its status for 503 is 529.
json anthropic_error(const ApiError& error);
int anthropic_status(int status);

/// What an error of the layers below is to a client: a request's fault 400, no room 429, everything else 500.
ApiError to_api_error(const Error& error);

}  // namespace hadal::serve
