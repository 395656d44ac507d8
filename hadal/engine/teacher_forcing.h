#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "hadal/core/thread_pool.h"
#include "hadal/core/view.h"
#include "hadal/model/acts.h"
#include "hadal/model/model.h"
#include "hadal/ops/context.h"

namespace hadal::engine {

struct ForcingOptions {
  int64_t chunk = 0;        // tokens in one forward pass; 0: all of them
  bool decode = false;      // one token at a time through the absorbed form
  bool mtp = false;         // the first MTP module's logits, too
  bool keep_acts = false;   // hidden states and expert choices
  bool keep_logits = true;  // false: only the log-probabilities of the given tokens
};

/// What the model says to a given sequence.
struct ForcedOutputs {
  Tensor<float, 2> logits;       // [T, vocab_size], if keep_logits
  Tensor<float, 2> mtp_logits;   // [T - 1, vocab_size], if mtp: row i is about token i + 2
  std::vector<double> logprobs;  // [T - 1]: of token i + 1 after tokens 0 ... i
  model::Acts acts;              // of all T tokens, if keep_acts
  Tensor<float, 2> final_norm;   // [T, hidden_size], if keep_acts
  std::map<int64_t, Tensor<float, 2>>
      latents;  // by layer, [T, latent_width]: the cache's content, if keep_acts
};

/// Runs `tokens` through the model without sampling. Throws kRequest for no tokens, more than max_position_embeddings, or
/// ids out of range; kUsage for mtp without an MTP module; kCapacity when the logits or the cache do not fit the memory.
ForcedOutputs run_tokens(const model::Model& model, ThreadPool& pool, ops::Precision precision,
                         std::span<const int32_t> tokens, const ForcingOptions& options);

}  // namespace hadal::engine
