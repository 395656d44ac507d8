#include "hadal/engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "hadal/core/error.h"
#include "hadal/core/phase_timer.h"
#include "hadal/core/rng.h"
#include "hadal/engine/ranking.h"

namespace hadal::engine {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

bool more_probable(const TokenLogprob& a, const TokenLogprob& b) {
  return a.logprob != b.logprob ? a.logprob > b.logprob : a.token < b.token;
}

// Sixteen at a time: a search for the largest, one after the other, waits for each comparison.
float largest_of(std::span<const float> logits) {
  constexpr size_t kLanes = 16;
  float most[kLanes];
  std::fill_n(most, kLanes, logits[0]);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) most[l] = logits[i + l] > most[l] ? logits[i + l] : most[l];
  }
  float largest = *std::max_element(most, most + kLanes);
  for (; i < logits.size(); ++i) largest = std::max(largest, logits[i]);
  return largest;
}

double log_sum_exp(std::span<const float> logits) {
  const float largest = largest_of(logits);
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(double{logit} - largest);
  return largest + std::log(sum);
}

int32_t largest_logit(std::span<const float> logits) {
  return static_cast<int32_t>(std::ranges::find(logits, largest_of(logits)) -
                              logits.begin());  // the first of equals
}

void check_logits(std::span<const float> logits) {
  int32_t unordered = 0;
  for (const float logit : logits) unordered += std::isnan(logit) ? 1 : 0;
  if (unordered == 0) return;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!std::isnan(logits[i])) continue;
    fail(ErrorKind::kInternal, "logits\n  token id  {}\n  expected  a number\n  found     NaN", i);
  }
}

void add_logprobs(std::span<const float> logits, int32_t num_logprobs, Sampled& sampled) {
  const double norm = log_sum_exp(logits);
  sampled.logprob = static_cast<float>(logits[static_cast<size_t>(sampled.token)] - norm);
  const auto count = std::min<size_t>(static_cast<size_t>(num_logprobs), logits.size());
  if (count == 0) return;
  std::vector<TokenLogprob> all(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    all[i] = {static_cast<int32_t>(i), static_cast<float>(logits[i] - norm)};
  }
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count), all.end(), more_probable);
  all.resize(count);
  sampled.top = std::move(all);
}

// Repetition divides a positive logit and multiplies a negative one, once for each token seen anywhere; presence and
// frequency subtract, by the answer's counts.
void apply_penalties(std::span<float> logits, const Sampling& sampling, const SamplingState& state) {
  if (sampling.repetition_penalty != 1.0F) {
    std::set<int32_t> seen(state.prompt.begin(), state.prompt.end());
    seen.insert(state.answer.begin(), state.answer.end());
    for (const int32_t token : seen) {
      float& logit = logits[static_cast<size_t>(token)];
      logit = logit > 0.0F ? logit / sampling.repetition_penalty : logit * sampling.repetition_penalty;
    }
  }
  if (sampling.presence_penalty == 0.0F && sampling.frequency_penalty == 0.0F) return;
  std::map<int32_t, int32_t> counts;
  for (const int32_t token : state.answer) ++counts[token];
  for (const auto& [token, count] : counts) {
    logits[static_cast<size_t>(token)] -=
        sampling.presence_penalty + sampling.frequency_penalty * static_cast<float>(count);
  }
}

void forbid(std::span<float> logits, const SamplingState& state) {
  for (const int32_t token : state.banned) {  // a stop token need not be one that this model knows
    if (token >= 0 && static_cast<size_t>(token) < logits.size())
      logits[static_cast<size_t>(token)] = kForbidden;
  }
  if (state.allowed.empty()) return;
  for (size_t i = 0; i < logits.size(); ++i) {
    const bool allowed = i / 32 < state.allowed.size() && ((state.allowed[i / 32] >> (i % 32)) & 1U) != 0;
    if (!allowed) logits[i] = kForbidden;
  }
}

// e^x, good to 1e-11 before its one rounding to FP32, for -200 <= x <= 0. Plain enough for compilers to vectorise: a call
// of the library for each token of a large vocabulary takes three times as long. Taylor's series of e^r, |r| <= ln 2 / 2.
float exponential(float x) {
  constexpr double kNoFraction = 0x1.8p52;  // at this size a double has no fraction left
  const double n = double{x} * 1.4426950408889634 + kNoFraction;
  const double r = double{x} - (n - kNoFraction) * 0.6931471805599453;
  double p = 1.0 / 362880 * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const auto power =
      std::bit_cast<double>((std::bit_cast<uint64_t>(n) + 1023) << 52);  // 2^n, from n's last bits
  return static_cast<float>(p * power);
}

// exp((logit - largest) / temperature): probabilities up to their common factor.
std::vector<float> weights_of(std::span<const float> logits, float temperature) {
  constexpr float kNothing = -200.0F;  // FP32 ends at e^-104
  const float largest = largest_of(logits);
  std::vector<float> weights(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    const float x = (logits[i] - largest) / temperature;
    weights[i] = x < kNothing ? kNothing : x;
  }
  for (float& weight : weights) weight = exponential(weight);
  return weights;
}

// The first token up to which more than `share` of the weight lies, in the order of ids. Summed in pieces, so that only
// the token's own has to be gone through once more, and in lanes, which do not wait for one another.
int32_t draw_of_all(std::span<const float> weights, float share) {
  constexpr size_t kPiece = 1024, kLanes = 8;
  std::vector<double> masses;
  for (size_t begin = 0; begin < weights.size(); begin += kPiece) {
    const std::span<const float> piece = weights.subspan(begin, std::min(kPiece, weights.size() - begin));
    double lanes[kLanes] = {};
    size_t i = 0;
    for (; i + kLanes <= piece.size(); i += kLanes) {
      for (size_t l = 0; l < kLanes; ++l) lanes[l] += double{piece[i + l]};
    }
    for (; i < piece.size(); ++i) lanes[0] += double{piece[i]};
    masses.push_back(std::accumulate(lanes, lanes + kLanes, 0.0));
  }
  const double target = double{share} * std::accumulate(masses.begin(), masses.end(), 0.0);
  double sum = 0.0;
  for (size_t piece = 0; piece < masses.size(); sum += masses[piece++]) {
    if (!(sum + masses[piece] > target)) continue;
    int32_t token =
        -1;  // the piece's last that weighs anything, where its sum in this order is a rounding smaller
    for (size_t i = piece * kPiece; i < weights.size() && sum <= target; ++i) {
      if (weights[i] > 0.0F) token = static_cast<int32_t>(i);
      sum += double{weights[i]};
    }
    return token;
  }
  return -1;
}

int32_t draw(std::span<const float> logits, const Sampling& sampling, uint64_t position) {
  std::vector<float> weights = weights_of(logits, sampling.temperature);
  const float share = uniform_at(sampling.seed, position);
  int32_t token = -1;
  if (sampling.top_k > 0 || sampling.top_p < 1.0F) {
    Ranking ranking(weights);
    if (sampling.top_k > 0) ranking.keep_first(static_cast<size_t>(sampling.top_k));
    if (sampling.top_p < 1.0F) ranking.keep_share(double{sampling.top_p});
    if (sampling.min_p > 0.0F) ranking.keep_from(sampling.min_p);  // the most probable has weight 1
    token = ranking.token_at(double{share} * ranking.total());
  } else {
    if (sampling.min_p > 0.0F) {
      for (float& weight : weights) weight = weight < sampling.min_p ? 0.0F : weight;
    }
    token = draw_of_all(weights, share);
  }
  return token >= 0 ? token
                    : largest_logit(logits);  // not but for rounding: all weigh no more than the target
}

}  // namespace

double log_probability(std::span<const float> logits, int32_t token) {
  return logits[static_cast<size_t>(token)] - log_sum_exp(logits);
}

Sampled score_token(std::span<const float> logits, int32_t token, int32_t num_logprobs) {
  check_logits(logits);
  Sampled sampled;
  sampled.token = token;
  add_logprobs(logits, num_logprobs, sampled);
  return sampled;
}

Sampled sample(std::span<float> logits, const Sampling& sampling, const SamplingState& state) {
  const PhaseScope timed(Phase::kSampling);
  check_logits(logits);
  std::vector<float> raw;
  if (sampling.num_logprobs >= 0) raw.assign(logits.begin(), logits.end());
  for (const auto& [token, bias] : sampling.logit_bias) logits[static_cast<size_t>(token)] += bias;
  apply_penalties(logits, sampling, state);
  forbid(logits, state);
  Sampled sampled;
  sampled.token = largest_logit(logits);
  if (logits[static_cast<size_t>(sampled.token)] == kForbidden) {
    fail(ErrorKind::kRequest,
         "sampling\n  expected  a token that grammar, bias and min tokens allow\n  found     none");
  }
  if (sampling.temperature > 0.0F) {
    sampled.token = draw(logits, sampling, state.prompt.size() + state.answer.size());
  }
  if (sampling.num_logprobs >= 0) add_logprobs(raw, sampling.num_logprobs, sampled);
  return sampled;
}

void check_sampling(const Sampling& s, int64_t vocab_size) {
  const auto check = [](bool good, std::string_view field, std::string_view expected, double found) {
    if (good) return;
    fail(ErrorKind::kRequest, "{}\n  expected  {}\n  found     {}", field, expected, found);
  };
  const auto within = [](float x, float low, float high) { return x >= low && x <= high; };  // false for NaN
  check(within(s.temperature, 0.0F, 100.0F), "temperature", "0 to 100", s.temperature);
  check(s.top_k >= 0, "top_k", "0 (off) or more", s.top_k);
  check(within(s.top_p, 0.0F, 1.0F) && s.top_p > 0.0F, "top_p", "more than 0, at most 1", s.top_p);
  check(within(s.min_p, 0.0F, 1.0F), "min_p", "0 to 1", s.min_p);
  check(within(s.repetition_penalty, 0.0F, 100.0F) && s.repetition_penalty > 0.0F, "repetition_penalty",
        "more than 0, at most 100", s.repetition_penalty);
  check(within(s.presence_penalty, -100.0F, 100.0F), "presence_penalty", "-100 to 100", s.presence_penalty);
  check(within(s.frequency_penalty, -100.0F, 100.0F), "frequency_penalty", "-100 to 100",
        s.frequency_penalty);
  check(s.num_logprobs >= -1 && s.num_logprobs <= vocab_size, "logprobs", "0 to the vocabulary's size",
        s.num_logprobs);
  for (const auto& [token, bias] : s.logit_bias) {
    check(token >= 0 && token < vocab_size, "logit_bias: token id", "an id of the vocabulary", token);
    check(within(bias, -100.0F, 100.0F), "logit_bias", "-100 to 100", bias);
  }
}

}  // namespace hadal::engine
