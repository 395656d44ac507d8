#include "hadal/ops/attention.h"

#include <cmath>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"
#include "hadal/ops/linear.h"
#include "hadal/ops/test_attention.h"

namespace hadal::ops {

namespace {

using kernels::TestWeight;

constexpr double kScale = 0.2;

// Scores are at most 3, from sums of 26 products of FP32 numbers; outputs are averages of values of at most 5.
constexpr double kTolerance = 2e-5;

TestWeight kv_b_proj(TestRandom& random, Format format = Format::kF32) {
  return {random, format, kHeads * (kNope + kValue), kRank};
}

// softmax(scores) times values, in double; scores and values are functions of the key's position.
template <class ScoreOf, class ValueOf>
double weighted_average(int64_t keys, const ScoreOf& score_of, const ValueOf& value_of) {
  double largest = -INFINITY, total = 0.0, sum = 0.0;
  for (int64_t j = 0; j < keys; ++j) largest = std::max(largest, score_of(j));
  for (int64_t j = 0; j < keys; ++j) {
    const double p = std::exp(score_of(j) - largest);
    total += p;
    sum += p * value_of(j);
  }
  return sum / total;
}

double dot(Vec<const float> a, Vec<const float> b) {
  double sum = 0.0;
  for (int64_t i = 0; i < a.shape[0]; ++i) sum += double{a[i]} * b[i];
  return sum;
}

void expect_latent_attention(const TestSequence& s, int64_t position, Mat<const float> out) {
  for (int64_t h = 0; h < kHeads; ++h) {
    std::vector<double> scores;
    for (int64_t j = 0; j <= position; ++j)
      scores.push_back(kScale * dot(s.q_latent.view()[position][h], s.kv.view()[j]));
    for (int64_t r = 0; r < kRank; ++r) {
      const double exact = weighted_average(
          position + 1, [&](int64_t j) { return scores[static_cast<size_t>(j)]; },
          [&](int64_t j) { return double{s.kv.view()[j][r]}; });
      ASSERT_NEAR(out[h][r], exact, kTolerance) << "position " << position;
    }
  }
}

// Element i of head h's own key (i < N) or value (from N on) of latent j.
double expanded(const TestSequence& s, const TestWeight& kv_b, int64_t h, int64_t i, int64_t j) {
  double sum = 0.0;
  for (int64_t r = 0; r < kRank; ++r) sum += kv_b.value(h * (kNope + kValue) + i, r) * s.kv.view()[j][r];
  return sum;
}

void expect_expanded_attention(const TestSequence& s, const TestWeight& kv_b, int64_t position,
                               Mat<const float> out) {
  for (int64_t h = 0; h < kHeads; ++h) {
    const Vec<const float> q = s.q.view()[position][h];
    std::vector<double> scores;
    for (int64_t j = 0; j <= position; ++j) {
      double score = dot(q.slice_last(kNope, kRotary), s.kv.view()[j].slice_last(kRank, kRotary));
      for (int64_t i = 0; i < kNope; ++i) score += q[i] * expanded(s, kv_b, h, i, j);
      scores.push_back(kScale * score);
    }
    for (int64_t v = 0; v < kValue; ++v) {
      const double exact = weighted_average(
          position + 1, [&](int64_t j) { return scores[static_cast<size_t>(j)]; },
          [&](int64_t j) { return expanded(s, kv_b, h, kNope + v, j); });
      ASSERT_NEAR(out[h][v], exact, kTolerance) << "position " << position;
    }
  }
}

// Writes tokens [0, count) to the cache without looking at anything.
void fill(Context& ctx, TestCache& cache, const TestSequence& s, const std::vector<int32_t>& pages,
          int64_t count) {
  TestBatch numbers;
  numbers.add({&s, &pages, 0, count});
  append(ctx, cache.layer(), numbers.slots, s.kv.view().rows(0, count));
}

TEST(Append, WritesToTheSlotsAndRoundsOnce) {
  TestRandom random(1);
  const TestSequence s(random, 40);
  const std::vector<int32_t> pages = {3, 0, 5};
  for (const Format format : {Format::kF32, Format::kBF16}) {
    TestContext ctx({}, 2);
    TestCache cache(format, 6);
    fill(ctx, cache, s, pages, 40);
    for (int64_t t = 0; t < 40; ++t) {
      const int64_t slot = pages[static_cast<size_t>(t / kPageSize)] * kPageSize + t % kPageSize;
      for (int64_t i = 0; i < kWidth; ++i) {
        const float x = s.kv.view()[t][i];
        ASSERT_EQ(cache.at(slot, i), format == Format::kF32 ? x : round_to_bf16(x));
      }
    }
    for (const int64_t untouched : {int64_t{1} * kPageSize, int64_t{5} * kPageSize + 8}) {
      ASSERT_TRUE(std::isnan(cache.at(untouched, 0))) << "nobody wrote there";
    }
  }
}

// Codes and their power of two for the latent, BF16 for the rotated key: as FP32 and as BF16 the same numbers.
TEST(Append, ToAnFp8CacheKeepsThePowerOfTwoOfEachToken) {
  TestRandom random(1);
  TestSequence s(random, 40);
  for (int64_t t = 0; t < 40; ++t) {
    for (int64_t i = 0; i < kRank; ++i) s.kv.view()[t][i] *= std::ldexp(1.0F, static_cast<int>(t - 20));
  }
  const std::vector<int32_t> pages = {3, 0, 5};
  TestContext ctx({}, 2);
  TestCache cache(Format::kF8E4M3, 6);
  fill(ctx, cache, s, pages, 40);
  for (int64_t t = 0; t < 40; ++t) {
    const int64_t slot = pages[static_cast<size_t>(t / kPageSize)] * kPageSize + t % kPageSize;
    float largest = 0.0F;
    for (int64_t i = 0; i < kRank; ++i) largest = std::max(largest, std::fabs(s.kv.view()[t][i]));
    float scale = 0x1p-40F;
    while (largest / scale > 448.0F) scale *= 2.0F;
    std::vector<bf16> numbers(kWidth);
    load_latent_bf16(cache.layer(), slot, reinterpret_cast<std::byte*>(numbers.data()));
    for (int64_t i = 0; i < kWidth; ++i) {
      const float x = s.kv.view()[t][i];
      const float expected = i < kRank ? to_float(to_f8e4m3(x / scale)) * scale : round_to_bf16(x);
      ASSERT_EQ(cache.at(slot, i), expected) << t << " " << i;
      ASSERT_EQ(to_float(numbers[static_cast<size_t>(i)]), expected) << t << " " << i;
    }
  }
}

TEST(Append, RefusesWhatDoesNotFit) {
  TestContext ctx;
  TestCache cache(Format::kF32, 1);
  Tensor<float, 2> kv({2, kWidth}), narrow({2, kWidth - 1});
  const std::vector<int32_t> one = {0}, two = {0, 1};
  EXPECT_TRUE(contains(error_of(ErrorKind::kInternal, [&] { append(ctx, cache.layer(), one, kv.view()); }),
                       "to 1 slots"));
  error_of(ErrorKind::kInternal, [&] { append(ctx, cache.layer(), two, narrow.view()); });
}

// One token each, of sequences that end before, at and after the borders of pages and of chunks of 512.
TEST(AttendLatent, IsCausalAttentionInLatentSpace) {
  TestRandom random(2);
  TestContext ctx(kFloat32, 2);
  TestCache cache(Format::kF32, 200);
  cache.shuffle(random);
  const TestWeight kv_b = kv_b_proj(random);
  const std::vector<int64_t> lengths = {1, 2, 16, 17, 511, 512, 513, 1030};
  std::vector<TestSequence> sequences;
  std::vector<std::vector<int32_t>> pages;
  for (const int64_t length : lengths) {
    sequences.emplace_back(random, length);
    pages.push_back(cache.take_pages(length));
    if (length > 1) fill(ctx, cache, sequences.back(), pages.back(), length - 1);
  }
  std::vector<TestPart> parts;
  for (size_t i = 0; i < lengths.size(); ++i) parts.push_back({&sequences[i], &pages[i], lengths[i] - 1, 1});
  const StepOutputs out = attend_step(ctx, cache, kv_b.weight(), kScale, parts, {});
  for (size_t i = 0; i < lengths.size(); ++i) {
    expect_latent_attention(sequences[i], lengths[i] - 1, out.latent.view()[static_cast<int64_t>(i)]);
  }
}

TEST(AttendExpanded, IsCausalAttentionOnKeysAndValuesPerHead) {
  TestRandom random(3);
  TestContext ctx(kFloat32, 2);
  TestCache cache(Format::kF32, 100);
  const TestWeight kv_b = kv_b_proj(random);
  const TestSequence a(random, 530), b(random, 3);
  const auto pages_a = cache.take_pages(530), pages_b = cache.take_pages(3);
  const StepOutputs out =
      attend_step(ctx, cache, kv_b.weight(), kScale, {}, {{&a, &pages_a, 0, 530}, {&b, &pages_b, 0, 3}});
  for (const int64_t position : {0, 1, 2, 15, 16, 100, 510, 511, 512, 513, 529}) {
    expect_expanded_attention(a, kv_b, position, out.expanded.view()[position]);
  }
  for (int64_t position = 0; position < 3; ++position)
    expect_expanded_attention(b, kv_b, position, out.expanded.view()[530 + position]);
}

// W^UK folded into the query and W^UV into the output (V2 section 2.1.2): the same function, another order of sums.
TEST(Attention, AbsorbedAgreesWithExpanded) {
  TestRandom random(4);
  for (const Format format : {Format::kF32, Format::kBF16, Format::kF8E4M3}) {
    TestContext ctx(kFloat32);
    const bool scaled = format == Format::kF8E4M3;
    const TestWeight kv_b(random, format, kHeads * (kNope + kValue), kRank, scaled ? 7 : 0, scaled ? 9 : 0);
    TestSequence s(random, 600);
    for (int64_t t = 0; t < 600; ++t) {
      const auto q = s.q.view().rows(t, 1);
      auto q_latent = s.q_latent.view().rows(t, 1);
      head_linear_transposed(ctx, q.slice_last(0, kNope), kv_b.weight(), kNope + kValue,
                             q_latent.slice_last(0, kRank));
      copy(q.slice_last(kNope, kRotary), q_latent.slice_last(kRank, kRotary));
    }
    TestCache cache(Format::kF32, 40);
    const auto pages = cache.take_pages(600);
    const StepOutputs prefill = attend_step(ctx, cache, kv_b.weight(), kScale, {}, {{&s, &pages, 0, 600}});
    const StepOutputs decode = attend_step(ctx, cache, kv_b.weight(), kScale, {{&s, &pages, 0, 600}}, {});
    Tensor<float, 3> absorbed({600, kHeads, kValue});
    head_linear(ctx, decode.latent.view(), kv_b.weight(), kNope + kValue, kNope, absorbed.view());
    for (size_t i = 0; i < absorbed.values().size(); ++i)
      ASSERT_NEAR(absorbed.values()[i], prefill.expanded.values()[i], kTolerance) << to_string(format);
  }
}

TEST(Attention, RefusesWhatDoesNotFit) {
  TestRandom random(5);
  TestContext ctx;
  TestCache cache(Format::kF32, 1);
  const TestWeight kv_b = kv_b_proj(random);
  const std::vector<int32_t> pages = {0};
  const TestSequence s(random, 1);
  TestBatch numbers;
  numbers.add({&s, &pages, 0, 1});
  Tensor<float, 3> narrow({1, kHeads, kWidth - 1}), values({1, kHeads, kValue + 1});
  error_of(ErrorKind::kInternal, [&] {
    attend_latent(ctx, narrow.view(), cache.layer(), numbers.batch(1), kScale, values.view());
  });
  EXPECT_TRUE(contains(error_of(ErrorKind::kInternal,
                                [&] {
                                  attend_expanded(ctx, s.q.view(), cache.layer(), kv_b.weight(),
                                                  numbers.batch(0), kScale, values.view());
                                }),
                       "attend_expanded: q [1, 3, 11], test.weight [36, 20], out [1, 3, 8]"));
}

}  // namespace
}  // namespace hadal::ops
