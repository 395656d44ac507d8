#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "hadal/core/view.h"
#include "hadal/engine/make_batch.h"
#include "hadal/engine/scheduler.h"
#include "hadal/model/model.h"
#include "hadal/ops/context.h"
#include "hadal/ops/latent_cache.h"

namespace hadal::engine {

/// Where drafts come from: guesses of an answer's next tokens, which one step then checks together. A draft is right if it is
/// what the draw, whose random number depends on the position only, gives in its place. So an answer is the same, bit by bit,
/// with any drafts or none, whatever its temperature.
enum class Speculation : uint8_t {
  kOff,
  kNgram,  // what followed the same few tokens earlier in the prompt or the answer
  kMtp,    // the checkpoint's multi-token-prediction module (V3 section 2.2), one token
};

/// What followed the latest earlier place with the same end of `max_ngram` tokens, or, if there is none, of fewer, down to
/// `min_ngram`: `count` tokens, those that would follow the end themselves among them, so that what repeats goes on repeating.
/// Empty if there is no such place.
std::vector<int32_t> ngram_drafts(std::span<const int32_t> prompt, std::span<const int32_t> answer,
                                  int64_t min_ngram, int64_t max_ngram, int64_t count);

/// Runs the first MTP module on what a step has computed, and drafts a token for each sequence that goes on. x: the step's hidden
/// states after the final norm, rows in the plan's order. The module's cache then holds the same positions as the layers'.
class MtpDrafter {
 public:
  MtpDrafter(const model::Model& model, int64_t page_size) : model_(model), batch_(page_size) {}

  /// The plan has been computed, committed and drawn; `continues` says which sequences want a draft.
  void draft(ops::Context& ctx, const StepPlan& plan, std::span<const ops::LayerCache> caches,
             Mat<const float> x, const std::function<bool(const Sequence&)>& continues);

 private:
  const model::Model& model_;
  BatchBuilder batch_;
};

}  // namespace hadal::engine
