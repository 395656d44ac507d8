#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hadal/core/thread_pool.h"
#include "hadal/model/model.h"

namespace hadal::cli {

/// A text as sequences of at most 512 tokens that begin with BOS. The tokenizer is the model's. Throws kRequest for a text
/// without two tokens.
std::vector<std::vector<int32_t>> text_pieces(const model::Model& model, std::string_view text);

/// How close a model's answers are to another's, on one text.
struct Fidelity {
  int64_t tokens = 0;  // positions compared
  double kl = 0.0;  // mean Kullback-Leibler divergence of the original's probabilities to the copy's, in nats
  double agreement = 0.0;  // share of positions where both put the same token first
  double perplexity_original = 0.0, perplexity_copy = 0.0;
};

/// Both models read the text in the original's text_pieces. Throws what these and loading throw.
Fidelity compare_models(const std::string& original, const std::string& copy, std::string_view text,
                        ThreadPool& pool);

/// One line of JSON.
std::string to_json(const Fidelity& fidelity);

}  // namespace hadal::cli
