#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "hadal/core/thread_pool.h"

namespace hadal::cli {

/// How close a model's answers are to another's, on one text.
struct Fidelity {
  int64_t tokens = 0;  // positions compared
  double kl = 0.0;  // mean Kullback-Leibler divergence of the original's probabilities to the copy's, in nats
  double agreement = 0.0;  // share of positions where both put the same token first
  double perplexity_original = 0.0, perplexity_copy = 0.0;
};

/// Both models read the text, in pieces of at most 512 tokens that begin with BOS. The tokenizer is the original's. Throws
/// kRequest for a text without two tokens, and whatever loading throws.
Fidelity compare_models(const std::string& original, const std::string& copy, std::string_view text,
                        ThreadPool& pool);

/// One line of JSON.
std::string to_json(const Fidelity& fidelity);

}  // namespace hadal::cli
