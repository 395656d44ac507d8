#include "hadal/engine/speculate.h"

#include <algorithm>

#include "hadal/model/mtp.h"

namespace hadal::engine {
namespace {

int32_t token_at(const Sequence& sequence, int64_t position) {
  const auto at = static_cast<size_t>(position);
  const auto& prompt = sequence.request.prompt;
  return at < prompt.size() ? prompt[at] : sequence.answer[at - prompt.size()];
}

}  // namespace

std::vector<int32_t> ngram_drafts(std::span<const int32_t> prompt, std::span<const int32_t> answer,
                                  int64_t min_ngram, int64_t max_ngram, int64_t count) {
  std::vector<int32_t> all(prompt.begin(), prompt.end());
  all.insert(all.end(), answer.begin(), answer.end());
  for (int64_t n = max_ngram; n >= min_ngram; --n) {
    if (std::ssize(all) <= n) continue;
    const auto found = std::find_end(all.begin(), all.end() - 1, all.end() - n, all.end());
    if (found == all.end() - 1) continue;
    const auto begin = static_cast<size_t>(found - all.begin() + n), size = all.size();
    for (size_t i = begin; i < begin + static_cast<size_t>(count); ++i) all.push_back(all[i]);
    return {all.begin() + static_cast<std::ptrdiff_t>(size), all.end()};
  }
  return {};
}

// Row i is about the pair of position p = first + i and the token at p + 1: the prompt's, or the one that was drawn. Rows of
// drafts that turned out to be wrong are left out.
void MtpDrafter::draft(ops::Context& ctx, const StepPlan& plan, std::span<const ops::LayerCache> caches,
                       Mat<const float> x, const std::function<bool(const Sequence&)>& continues) {
  const int64_t width = x.shape[1];
  const auto frame = ctx.scratch.frame();
  const auto hidden = ctx.scratch.mat<float>(x.shape[0], width);
  const auto next = ctx.scratch.vec<int32_t>(x.shape[0]);
  std::vector<Sequence*> drafting;
  batch_.clear();
  int64_t row = 0, from = 0;
  for (const auto* parts : {&plan.decode, &plan.prefill}) {
    for (const StepPlan::Part& part : *parts) {
      Sequence& s = *part.sequence;
      const int64_t count = std::min(s.num_computed - part.first, s.num_tokens() - 1 - part.first);
      const bool wanted = continues(s) && part.first + count == s.num_tokens() - 1 && !s.answer.empty();
      for (int64_t i = 0; i < count; ++i) {
        std::copy_n(x[from + i].data, width, hidden[row + i].data);
        next[row + i] = token_at(s, part.first + i + 1);
      }
      if (count > 0) {
        batch_.add({.tokens = {next.data + row, static_cast<size_t>(count)},
                    .first_position = static_cast<int32_t>(part.first),
                    .pages = s.pages,
                    .decode = parts == &plan.decode,
                    .wants_logits = wanted});
        if (wanted) drafting.push_back(&s);
      }
      row += count;
      from += part.num_tokens;
    }
  }
  if (row == 0) return;
  const auto state = ctx.scratch.mat<float>(row, width);
  const auto logits = ctx.scratch.mat<float>(std::ssize(drafting), model_.config.vocab_size);
  model::mtp_forward(ctx, model_, 0, batch_.batch(),
                     caches[static_cast<size_t>(model_.config.num_hidden_layers)], hidden.rows(0, row), state,
                     logits, nullptr);
  for (size_t i = 0; i < drafting.size(); ++i) {
    const float* best = logits[static_cast<int64_t>(i)].data;
    const auto token = std::max_element(best, best + model_.config.vocab_size) - best;
    drafting[i]->drafts = {static_cast<int32_t>(token)};
  }
}

}  // namespace hadal::engine
