#include "cli/fidelity.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "cli/common.h"
#include <nlohmann/json.hpp>

#include "hadal/core/error.h"
#include "hadal/core/json.h"
#include "hadal/engine/teacher_forcing.h"
#include "hadal/text/tokenizer.h"

namespace hadal::cli {
namespace {

constexpr int64_t kPieceTokens =
    512;  // its logits fit any memory, and its later tokens have seen enough to be told

using Ids = std::vector<int32_t>;

double log_of_sum(Vec<const float> logits) {
  float largest = logits[0];
  for (int64_t i = 1; i < logits.shape[0]; ++i) largest = std::max(largest, logits[i]);
  double sum = 0.0;
  for (int64_t i = 0; i < logits.shape[0]; ++i) sum += std::exp(static_cast<double>(logits[i]) - largest);
  return std::log(sum) + largest;
}

double divergence(Vec<const float> original, Vec<const float> copy) {
  const double a = log_of_sum(original), b = log_of_sum(copy);
  double sum = 0.0;
  for (int64_t i = 0; i < original.shape[0]; ++i) {
    const double p = original[i] - a, q = copy[i] - b;
    sum += std::exp(p) * (p - q);
  }
  return sum;
}

int64_t first_choice(Vec<const float> logits) {
  return std::max_element(logits.data, logits.data + logits.shape[0]) - logits.data;
}

// Sums over the positions of all pieces.
struct Sums {
  double kl = 0.0, logprob_original = 0.0, logprob_copy = 0.0;
  int64_t same = 0, positions = 0, guesses = 0;
};

void add_piece(const engine::ForcedOutputs& original, const engine::ForcedOutputs& copy, ThreadPool& pool,
               Sums& sums) {
  const int64_t rows = original.logits.shape()[0];
  std::vector<double> kl(static_cast<size_t>(rows));
  std::vector<uint8_t> same(static_cast<size_t>(rows));
  parallel_for(pool, rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const auto a = original.logits.view()[t], b = copy.logits.view()[t];
      kl[static_cast<size_t>(t)] = divergence(a, b);
      same[static_cast<size_t>(t)] = static_cast<uint8_t>(first_choice(a) == first_choice(b));
    }
  });
  sums.kl = std::accumulate(kl.begin(), kl.end(), sums.kl);
  sums.same = std::accumulate(same.begin(), same.end(), sums.same);
  sums.positions += rows;
  sums.logprob_original =
      std::accumulate(original.logprobs.begin(), original.logprobs.end(), sums.logprob_original);
  sums.logprob_copy = std::accumulate(copy.logprobs.begin(), copy.logprobs.end(), sums.logprob_copy);
  sums.guesses += static_cast<int64_t>(original.logprobs.size());
}

}  // namespace

std::vector<Ids> text_pieces(const model::Model& model, std::string_view text) {
  const auto tokenizer = text::Tokenizer::load(model.checkpoint.folder());
  const Ids ids = tokenizer.encode(text);
  const auto& bos = model.config.bos_token_id;
  const auto length =
      static_cast<size_t>(std::clamp<int64_t>(model.config.max_position_embeddings, 2, kPieceTokens));
  std::vector<Ids> pieces;
  for (size_t begin = 0; begin < ids.size();) {
    Ids piece;
    if (bos) piece.push_back(static_cast<int32_t>(*bos));
    const size_t count = std::min(length - piece.size(), ids.size() - begin);
    piece.insert(piece.end(), ids.begin() + static_cast<int64_t>(begin),
                 ids.begin() + static_cast<int64_t>(begin + count));
    begin += count;
    if (piece.size() > 1) pieces.push_back(std::move(piece));
  }
  if (pieces.empty()) {
    fail(ErrorKind::kRequest, "text\n  expected  two tokens or more\n  found     {}", ids.size());
  }
  return pieces;
}

Fidelity compare_models(const std::string& original, const std::string& copy, std::string_view text,
                        ThreadPool& pool) {
  const model::Model first = model::load_model(original, pool, show_progress("loading"));
  const std::vector<Ids> pieces = text_pieces(first, text);
  const model::Model second = model::load_model(copy, pool, show_progress("loading"));
  Sums sums;
  for (const Ids& piece : pieces) {
    add_piece(engine::run_tokens(first, pool, {}, piece, {}), engine::run_tokens(second, pool, {}, piece, {}),
              pool, sums);
  }
  const auto positions = static_cast<double>(sums.positions), guesses = static_cast<double>(sums.guesses);
  return {.tokens = sums.positions,
          .kl = sums.kl / positions,
          .agreement = static_cast<double>(sums.same) / positions,
          .perplexity_original = std::exp(-sums.logprob_original / guesses),
          .perplexity_copy = std::exp(-sums.logprob_copy / guesses)};
}

std::string to_json(const Fidelity& fidelity) {
  const json object{
      {"tokens", fidelity.tokens},
      {"kl", fidelity.kl},
      {"top1_agreement", fidelity.agreement},
      {"perplexity", {{"in", fidelity.perplexity_original}, {"out", fidelity.perplexity_copy}}}};
  return object.dump() + "\n";
}

}  // namespace hadal::cli
