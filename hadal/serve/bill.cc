#include "hadal/serve/bill.h"

#include <algorithm>

namespace hadal::serve {

Bill::Bill(const Exchange& http, Service& service, const std::string& model, int64_t prompt_tokens,
           int64_t max_tokens)
    : prompt_tokens_(prompt_tokens) {
  if (!service.accounts || !http.account()) return;
  const auto& names = service.options.served_names;
  const bool known = std::ranges::find(names, model) != names.end();
  const Work work{random_id("bill-"), known ? model : service.model_name(), prompt_tokens, max_tokens};
  reservation_.emplace(service.accounts->admit(*http.account(), work, Time::now()));
}

Usage Bill::usage(int64_t cached_tokens, int64_t completion_tokens) const {
  return {.prompt_cache_hit_tokens = cached_tokens,
          .prompt_cache_miss_tokens = prompt_tokens_ - cached_tokens,
          .completion_tokens = completion_tokens};
}

void Bill::progress(int64_t cached_tokens, int64_t completion_tokens) {
  if (reservation_) reservation_->progress(usage(cached_tokens, completion_tokens));
}

void Bill::settle(int64_t cached_tokens, int64_t completion_tokens) {
  if (reservation_) reservation_->settle(usage(cached_tokens, completion_tokens));
}

}  // namespace hadal::serve
