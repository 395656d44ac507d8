#pragma once

#include <optional>
#include <string>

#include "hadal/serve/accounts.h"
#include "hadal/serve/exchange.h"
#include "hadal/serve/service.h"

namespace hadal::serve {

/// What a request costs the account that sent it, from admission to its end; nothing where there are no accounts. A request that
/// ends early, because its client has gone or by an error, is settled with the last progress when this object goes.
class Bill {
 public:
  /// model: as the request names it. max_tokens: of all answers together. Throws ApiError: the account's refusals.
  Bill(const Exchange& http, Service& service, const std::string& model, int64_t prompt_tokens,
       int64_t max_tokens);

  /// Before bytes of a streamed answer leave.
  void progress(int64_t cached_tokens, int64_t completion_tokens);
  /// Before the last byte leaves. Throws ApiError 503 if it cannot be written down.
  void settle(int64_t cached_tokens, int64_t completion_tokens);

 private:
  Usage usage(int64_t cached_tokens, int64_t completion_tokens) const;

  std::optional<Reservation> reservation_;
  int64_t prompt_tokens_;
};

}  // namespace hadal::serve
