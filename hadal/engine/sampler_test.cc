#include "hadal/engine/sampler.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"
#include "hadal/core/test_random.h"

namespace hadal::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

using Ids = std::vector<int32_t>;

SamplingState state_of(const Ids& prompt, const Ids& answer) {
  return {.prompt = prompt, .answer = answer, .banned = {}, .allowed = {}};
}

int32_t greedy(std::vector<float> logits, Sampling sampling = {}, const SamplingState& state = {}) {
  sampling.temperature = 0.0F;
  return sample(logits, sampling, state).token;
}

TEST(Greedy, TakesTheLargestLogitAndTheLowestIdAmongEquals) {
  EXPECT_EQ(greedy({1.0F, 3.0F, 2.0F}), 1);
  EXPECT_EQ(greedy({1.0F, 3.0F, 3.0F, 3.0F}), 1);
  EXPECT_EQ(greedy({0.0F, -0.0F}), 0);
  EXPECT_EQ(greedy({-0.0F, 0.0F}), 0);
  EXPECT_EQ(greedy({-5.0F}), 0);
  EXPECT_EQ(greedy({-kInfinity, -1e30F, -kInfinity}), 1);
}

TEST(Greedy, IgnoresSeedPositionAndFilters) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Ids prompt(seed, 0);
    const Sampling sampling{.top_k = 3, .top_p = 0.9F, .min_p = 0.1F, .seed = seed};
    EXPECT_EQ(greedy({1.0F, 1.1F, 1.05F}, sampling, state_of(prompt, {})), 1);
  }
}

// What the sampler makes of token 0's logit: it wins against anything smaller and loses against anything larger.
void expect_logit(double expected, float logit, const Sampling& sampling, const SamplingState& state,
                  float rival_id_bias = 0.0F) {
  constexpr double kMargin = 1e-4;  // far above FP32's rounding of these numbers, far below their differences
  const auto rival = [&](double value) { return static_cast<float>(value) - rival_id_bias; };
  EXPECT_EQ(greedy({logit, rival(expected - kMargin)}, sampling, state), 0) << expected;
  EXPECT_EQ(greedy({logit, rival(expected + kMargin)}, sampling, state), 1) << expected;
}

TEST(Penalties, RepetitionDividesOrMultipliesOnceForAToken) {
  const Sampling sampling{.repetition_penalty = 1.5F};
  for (const auto& [prompt, answer] : {std::pair<Ids, Ids>{{0}, {}}, {{}, {0}}, {{0, 0}, {0, 0, 0}}}) {
    const SamplingState state = state_of(prompt, answer);
    expect_logit(2.0, 3.0F, sampling, state);
    expect_logit(-4.5, -3.0F, sampling, state);
    expect_logit(0.0, 0.0F, sampling, state);
  }
  expect_logit(3.0, 3.0F, sampling, state_of({}, {}));
  expect_logit(6.0, 3.0F, {.repetition_penalty = 0.5F}, state_of({0}, {}));
}

TEST(Penalties, PresenceAndFrequencyCountTheAnswerOnly) {
  const Ids answer = {0, 0, 0};
  const Ids none;
  const SamplingState state = state_of(answer, none), counted = state_of(none, answer);
  const Sampling presence{.presence_penalty = 0.7F}, frequency{.frequency_penalty = 0.4F};
  expect_logit(3.0, 3.0F, presence, state);
  expect_logit(3.0, 3.0F, frequency, state);
  expect_logit(3.0 - 0.7, 3.0F, presence, counted);
  expect_logit(3.0 - 3 * 0.4, 3.0F, frequency, counted);
  expect_logit(3.0 - 0.7 - 3 * 0.4, 3.0F, {.presence_penalty = 0.7F, .frequency_penalty = 0.4F}, counted);
  expect_logit(3.0 + 0.7, 3.0F, {.presence_penalty = -0.7F}, counted);
}

// Bias, then repetition, then presence and frequency: any other order gives another number.
TEST(Penalties, ComeInTheirOrder) {
  const Ids answer = {0}, none;
  const Sampling sampling{.repetition_penalty = 2.0F,
                          .presence_penalty = 0.25F,
                          .frequency_penalty = 0.5F,
                          .logit_bias = {{0, 4.0F}}};
  expect_logit((1.0 + 4.0) / 2.0 - 0.25 - 0.5, 1.0F, sampling, state_of(none, answer));
}

TEST(LogitBias, IsAddedToItsTokens) {
  expect_logit(4.5, 2.0F, {.logit_bias = {{0, 2.5F}}}, {});
  expect_logit(2.0, 2.0F, {.logit_bias = {{1, 100.0F}}}, {}, 100.0F);
}

TEST(Banned, NeverComes) {
  const Ids banned = {1, 3};
  SamplingState state;
  state.banned = banned;
  EXPECT_EQ(greedy({1.0F, 9.0F, 2.0F, 9.0F}, {}, state), 2);
  EXPECT_EQ(greedy({1.0F, 9.0F, 2.0F, 9.0F}, {.logit_bias = {{1, 100.0F}}}, state), 2) << "whatever its bias";
}

// --stop-token-id takes any number; one that the vocabulary does not have can neither come nor be forbidden.
TEST(Banned, MayNameIdsOutsideTheVocabulary) {
  const Ids banned = {-1, 4, 1'000'000'000, 1, INT32_MIN};
  SamplingState state;
  state.banned = banned;
  EXPECT_EQ(greedy({1.0F, 9.0F, 2.0F, 0.0F}, {}, state), 2);
}

TEST(Allowed, IsABitPerId) {
  std::vector<float> logits(70);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i);
  SamplingState state;
  for (const auto& [mask, expected] : std::vector<std::pair<std::vector<uint32_t>, int32_t>>{
           {{0xffffffff, 0xffffffff, 0xffffffff}, 69},
           {{0xffffffff, 0xffffffff, 0x1}, 64},
           {{0x0, 0x80000001, 0x0}, 63},
           {{0x5, 0x1, 0x0}, 32},
           {{0x5, 0x0, 0x0}, 2},
           {{0x80000000}, 31}}) {  // ids beyond the mask are not allowed
    state.allowed = mask;
    EXPECT_EQ(greedy(logits, {}, state), expected);
  }
}

TEST(Allowed, NothingAllowedIsAnError) {
  const std::vector<uint32_t> none = {0}, first = {1};
  const Ids banned = {0};
  SamplingState state;
  state.allowed = none;
  const auto draw = [&] { greedy({1.0F, 2.0F}, {}, state); };
  EXPECT_TRUE(contains(error_of(ErrorKind::kRequest, draw), {"sampling", "grammar"}));
  state.allowed = first;
  EXPECT_NO_THROW(draw());
  state.banned = banned;
  error_of(ErrorKind::kRequest, draw);
}

TEST(Draw, ForbiddenTokensNeverComeAtAnyTemperature) {
  const std::vector<uint32_t> mask = {0x6};
  const Ids banned = {2};
  for (int32_t position = 0; position < 500; ++position) {
    const Ids prompt(static_cast<size_t>(position), 0);
    SamplingState state{.prompt = prompt, .answer = {}, .banned = banned, .allowed = mask};
    std::vector<float> logits = {5.0F, 0.0F, 5.0F, 5.0F};
    EXPECT_EQ(sample(logits, {.temperature = 100.0F}, state).token, 1);
  }
}

int32_t drawn(const Sampling& sampling, const Ids& prompt, const Ids& answer) {
  std::vector<float> logits(1000, 0.0F);
  return sample(logits, sampling, state_of(prompt, answer)).token;
}

TEST(Draw, IsAFunctionOfSeedAndPosition) {
  const Ids ten(10, 3), four(4, 5), six(6, 7), none;
  const int32_t token = drawn({.seed = 42}, ten, none);
  EXPECT_EQ(drawn({.seed = 42}, ten, none), token);
  EXPECT_EQ(drawn({.seed = 42}, four, six), token) << "position 10, too";
  EXPECT_EQ(drawn({.seed = 42}, none, ten), token);
  int same_seed = 0, same_position = 0;
  for (uint64_t i = 0; i < 100; ++i) {
    same_seed += drawn({.seed = 42}, Ids(i, 0), none) == token ? 1 : 0;
    same_position += drawn({.seed = i}, ten, none) == token ? 1 : 0;
  }
  // Of 100 others, one in 1000 agrees by chance; the one itself does. More than 3 would be one in 10^5.
  EXPECT_GE(same_seed, 1);
  EXPECT_LE(same_seed, 3);
  EXPECT_GE(same_position, 1);
  EXPECT_LE(same_position, 3);
}

// log-softmax in double, from the definition.
double log_softmax(const std::vector<float>& logits, int32_t token) {
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(double{logit});
  return logits[static_cast<size_t>(token)] - std::log(sum);
}

constexpr double kLogprobTolerance = 1e-6;  // FP32 holds numbers of at most 10 to within 5e-7

TEST(Logprobs, AreTheModelsOwn) {
  const std::vector<float> raw = {1.0F, 4.0F, 3.0F, -2.0F, 3.0F, 0.5F};
  const Ids answer = {1, 1};
  const Sampling sampling{.temperature = 0.5F,
                          .top_k = 2,
                          .repetition_penalty = 1.3F,
                          .frequency_penalty = 2.0F,
                          .logit_bias = {{5, 3.0F}},
                          .num_logprobs = 4};
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<float> logits = raw;
    Sampling seeded = sampling;
    seeded.seed = seed;
    const Sampled sampled = sample(logits, seeded, state_of({}, answer));
    EXPECT_NEAR(sampled.logprob, log_softmax(raw, sampled.token), kLogprobTolerance);
    ASSERT_EQ(sampled.top.size(), 4U);
    const Ids expected = {1, 2, 4, 0};  // most probable first, the lower id of 2 and 4 first
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(sampled.top[i].token, expected[i]);
      EXPECT_NEAR(sampled.top[i].logprob, log_softmax(raw, expected[i]), kLogprobTolerance);
    }
  }
}

TEST(Logprobs, ComeOnlyWhereAskedFor) {
  const std::vector<float> raw = {1.0F, 2.0F, 3.0F};
  std::vector<float> logits = raw;
  Sampled sampled = sample(logits, {.temperature = 0.0F}, {});
  EXPECT_EQ(sampled.logprob, 0.0F);
  EXPECT_TRUE(sampled.top.empty());
  logits = raw;
  sampled = sample(logits, {.temperature = 0.0F, .num_logprobs = 0}, {});
  EXPECT_NEAR(sampled.logprob, log_softmax(raw, 2), kLogprobTolerance);
  EXPECT_TRUE(sampled.top.empty());
  logits = raw;
  sampled = sample(logits, {.temperature = 0.0F, .num_logprobs = 99}, {});
  EXPECT_EQ(sampled.top.size(), 3U);
}

TEST(LogProbability, IsLogSoftmaxInDouble) {
  const std::vector<float> logits = TestRandom(1).uniform_vector(1000, -5.0F, 5.0F);
  double total = 0.0;
  for (int32_t token = 0; token < 1000; ++token) {
    EXPECT_NEAR(log_probability(logits, token), log_softmax(logits, token), 1e-12);
    total += std::exp(log_probability(logits, token));
  }
  EXPECT_NEAR(total, 1.0, 1e-12);
  const std::vector<float> large = {1e4F, 1e4F, -1e4F};  // whose exponentials do not exist
  EXPECT_NEAR(log_probability(large, 0), -std::log(2.0), 1e-11);
  EXPECT_NEAR(log_probability(large, 2), -2e4 - std::log(2.0), 1e-11);
}

TEST(Sample, RefusesNaN) {
  for (const float temperature : {0.0F, 1.0F}) {
    std::vector<float> logits = {1.0F, 2.0F, kNaN};
    const std::string message =
        error_of(ErrorKind::kInternal, [&] { sample(logits, {.temperature = temperature}, {}); });
    EXPECT_TRUE(contains(message, {"token id  2", "NaN"}));
  }
}

// Each field's ends, and one step outside of them.
TEST(CheckSampling, KnowsTheRangeOfEachField) {
  const auto expect_range = [](const char* name, auto Sampling::*field, auto low, auto high, auto below,
                               auto above) {
    Sampling s;
    for (const auto good : {low, high}) {
      s.*field = good;
      EXPECT_NO_THROW(check_sampling(s, 100)) << name << ' ' << good;
    }
    for (const auto bad : {below, above}) {
      s.*field = bad;
      EXPECT_TRUE(contains(error_of(ErrorKind::kRequest, [&] { check_sampling(s, 100); }), name)) << bad;
    }
  };
  constexpr float kTiny = std::numeric_limits<float>::min();
  expect_range("temperature", &Sampling::temperature, 0.0F, 100.0F, -0.01F, 100.1F);
  expect_range("top_k", &Sampling::top_k, 0, INT32_MAX, -1, INT32_MIN);
  expect_range("top_p", &Sampling::top_p, kTiny, 1.0F, 0.0F, 1.01F);
  expect_range("min_p", &Sampling::min_p, 0.0F, 1.0F, -0.01F, 1.01F);
  expect_range("repetition_penalty", &Sampling::repetition_penalty, kTiny, 100.0F, 0.0F, 100.1F);
  expect_range("presence_penalty", &Sampling::presence_penalty, -100.0F, 100.0F, -100.1F, 100.1F);
  expect_range("frequency_penalty", &Sampling::frequency_penalty, -100.0F, 100.0F, -100.1F, 100.1F);
  expect_range("logprobs", &Sampling::num_logprobs, -1, 100, -2, 101);
  for (float Sampling::*field :
       {&Sampling::temperature, &Sampling::top_p, &Sampling::min_p, &Sampling::repetition_penalty,
        &Sampling::presence_penalty, &Sampling::frequency_penalty}) {
    for (const float bad : {kNaN, kInfinity, -kInfinity}) {
      Sampling s;
      s.*field = bad;
      error_of(ErrorKind::kRequest, [&] { check_sampling(s, 100); });
    }
  }
}

TEST(CheckSampling, KnowsTheVocabularyOfBiases) {
  const auto check = [](int32_t id, float bias) { check_sampling({.logit_bias = {{id, bias}}}, 100); };
  for (const int32_t id : {0, 99}) EXPECT_NO_THROW(check(id, 100.0F));
  EXPECT_NO_THROW(check(5, -100.0F));
  for (const int32_t id : {-1, 100}) {
    EXPECT_TRUE(contains(error_of(ErrorKind::kRequest, [&] { check(id, 1.0F); }), "logit_bias: token id"));
  }
  for (const float bias : {-100.5F, 100.5F, kNaN, kInfinity}) {
    EXPECT_TRUE(contains(error_of(ErrorKind::kRequest, [&] { check(5, bias); }), "logit_bias\n"));
  }
}

}  // namespace
}  // namespace hadal::engine
