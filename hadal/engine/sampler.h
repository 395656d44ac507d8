#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace hadal::engine {

/// How the next token is drawn. The names and their meaning are those of vLLM's SamplingParams. In this order: bias,
/// penalties, temperature; the top_k most probable; of these, the fewest that hold top_p; of these, the ones with at
/// least min_p times the largest probability.
struct Sampling {
  float temperature = 1.0F;  // 0: the largest logit (lowest id among equals)
  int32_t top_k = 0;         // 0: off
  float top_p = 1.0F;
  float min_p = 0.0F;
  float repetition_penalty = 1.0F;  // over prompt and answer
  float presence_penalty = 0.0F;    // over the answer
  float frequency_penalty = 0.0F;
  std::map<int32_t, float> logit_bias{};
  uint64_t seed = 0;
  int32_t num_logprobs = -1;  // -1: none; 0: of the chosen token; n: and of the n most probable
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0.0F;
};

/// A drawn token with its log-probability under the model itself (before penalties, bias and temperature), if asked for.
struct Sampled {
  int32_t token = 0;
  float logprob = 0.0F;
  std::vector<TokenLogprob> top;
};

/// What a draw may depend on besides the logits.
struct SamplingState {
  std::span<const int32_t> prompt, answer;
  std::span<const int32_t>
      banned;  // ids that may not come now (end of sequence before min_tokens); any number
  std::span<const uint32_t> allowed;  // bit per id (text::Grammar::mask); empty: all
};

/// Draws the token for position prompt.size() + answer.size(). Pure: the draw is a function of logits, sampling and state;
/// its random number of (seed, position). Changes `logits`. Throws kInternal if a logit is NaN, kRequest if nothing is
/// allowed.
Sampled sample(std::span<float> logits, const Sampling& sampling, const SamplingState& state);

/// What the model says to a given token, with the num_logprobs most probable ones; the numbers are those of sample().
Sampled score_token(std::span<const float> logits, int32_t token, int32_t num_logprobs);

/// Throws kRequest naming the field whose value is out of range (temperature >= 0, 0 < top_p <= 1, ...).
void check_sampling(const Sampling& sampling, int64_t vocab_size);

/// log-softmax of one row at one token, in double: what logprobs and perplexity are made of.
double log_probability(std::span<const float> logits, int32_t token);

}  // namespace hadal::engine
