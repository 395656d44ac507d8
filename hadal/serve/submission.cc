#include "hadal/serve/submission.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string_view>

#include "hadal/text/detokenizer.h"

namespace hadal::serve {
namespace {

constexpr std::string_view kEndOfThoughts = "</think>";

// Lets an answer take only such tokens as its constraint allows. A model that thinks first is left alone until </think>,
// which a budget of tokens brings about.
class ConstrainedAnswer {
 public:
  ConstrainedAnswer(const Submission& submission, GrammarCache& grammars, int64_t vocab_size)
      : budget_(submission.thinking_budget.value_or(INT64_MAX)),
        mask_(static_cast<size_t>(vocab_size + 31) / 32, 0) {
    const auto& constraint = submission.constraint;
    if (constraint) grammar_.emplace(grammars.get(*constraint));
    const text::Tokenizer& tokenizer = grammars.tokenizer();
    if (submission.thinks) thoughts_.emplace(tokenizer, /*skip_special=*/false);
    if (submission.thinking_budget) end_of_thoughts_ = tokenizer.encode(kEndOfThoughts);
  }

  // What engine::Request::token_mask gives.
  std::span<const uint32_t> mask(std::span<const int32_t> answer) {
    for (; num_read_ < answer.size(); ++num_read_) read(answer[num_read_]);
    if (thoughts_) {
      const int64_t over = std::ssize(answer) - budget_;
      return over < 0 || over >= std::ssize(end_of_thoughts_)
                 ? std::span<const uint32_t>()
                 : only(end_of_thoughts_[static_cast<size_t>(over)]);
    }
    if (!grammar_) return {};
    grammar_->mask(mask_);
    return mask_;
  }

 private:
  void read(int32_t token) {
    if (!thoughts_) {
      if (grammar_) grammar_->accept(token);
      return;
    }
    seen_ += thoughts_->push(token);
    if (seen_.find(kEndOfThoughts) != std::string::npos) thoughts_.reset();
    if (seen_.size() > kEndOfThoughts.size()) seen_.erase(0, seen_.size() - kEndOfThoughts.size());
  }

  std::span<const uint32_t> only(int32_t token) {
    std::ranges::fill(mask_, 0U);
    mask_[static_cast<size_t>(token) / 32] = 1U << (static_cast<size_t>(token) % 32);
    return mask_;
  }

  std::optional<text::Grammar> grammar_;
  std::optional<text::Detokenizer> thoughts_;  // until they end
  std::vector<int32_t> end_of_thoughts_;       // what the budget forces, token by token
  int64_t budget_;
  std::string seen_;  // the end of them
  size_t num_read_ = 0;
  std::vector<uint32_t> mask_;
};

}  // namespace

engine::Request engine_request(const Submission& s, GrammarCache& grammars, int64_t vocab_size) {
  engine::Request request{.prompt = s.prompt,
                          .sampling = s.sampling,
                          .max_tokens = s.max_tokens,
                          .min_tokens = s.min_tokens,
                          .stop_token_ids = s.stop_token_ids,
                          .token_mask = nullptr,
                          .num_prompt_logprobs = s.num_prompt_logprobs,
                          .priority = s.priority,
                          .cache_salt = s.cache_salt};
  if (!s.constraint && !(s.thinks && s.thinking_budget)) return request;
  const auto mask = std::make_shared<ConstrainedAnswer>(s, grammars, vocab_size);
  request.token_mask = [mask](std::span<const int32_t> answer) { return mask->mask(answer); };
  return request;
}

}  // namespace hadal::serve
