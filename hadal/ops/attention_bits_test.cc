// Same tokens, same bits: how a sequence's tokens are cut into steps, where its pages lie, what else is in the step and
// how many threads there are changes nothing. And what attention rounds, in each precision.
#include <cmath>

#include <gtest/gtest.h>

#include "hadal/ops/test_attention.h"

namespace hadal::ops {
namespace {

using kernels::TestWeight;

constexpr double kScale = 0.2;
constexpr int64_t kLength = 560;  // two chunks of attention, 35 pages

// A precision with the cache and the weights that go with it.
struct Setting {
  Precision precision;
  Format cache, weights;
};
constexpr Setting kSettings[] = {{kFloat32, Format::kF32, Format::kF32},
                                 {kBFloat16, Format::kBF16, Format::kBF16},
                                 {kBFloat16, Format::kF8E4M3, Format::kBF16},
                                 {kW8A8, Format::kBF16, Format::kF8E4M3}};

class AttentionBits : public testing::TestWithParam<Setting> {
 protected:
  TestWeight kv_b() const {
    TestRandom random(1);
    const bool scaled = GetParam().weights == Format::kF8E4M3;
    return {random, GetParam().weights, kHeads * (kNope + kValue), kRank, scaled ? 7 : 0, scaled ? 9 : 0};
  }
  TestCache cache() const { return {GetParam().cache, 80}; }
  static TestSequence sequence(uint32_t seed, int64_t length = kLength) {
    TestRandom random(seed);
    return {random, length};
  }

  // The whole sequence in steps of `step` tokens, both forms of attention.
  StepOutputs in_steps(int64_t step, int threads, bool shuffled) const {
    TestContext ctx(GetParam().precision, threads);
    const TestWeight w = kv_b();
    const TestSequence s = sequence(2);
    TestCache pages_of = cache(), latent_cache = cache();
    TestRandom random(3);
    if (shuffled) pages_of.shuffle(random);
    const auto pages = pages_of.take_pages(kLength);
    StepOutputs all{Tensor<float, 3>({kLength, kHeads, kRank}), Tensor<float, 3>({kLength, kHeads, kValue})};
    for (int64_t first = 0; first < kLength; first += step) {
      const TestPart part{&s, &pages, first, std::min(step, kLength - first)};
      const auto decode = attend_step(ctx, latent_cache, w.weight(), kScale, {part}, {});
      const auto prefill = attend_step(ctx, pages_of, w.weight(), kScale, {}, {part});
      copy(decode.latent.view(), all.latent.view().rows(first, part.count));
      copy(prefill.expanded.view(), all.expanded.view().rows(first, part.count));
    }
    return all;
  }
};

void expect_same_bits(const StepOutputs& a, const StepOutputs& b) {
  ASSERT_EQ(a.latent.values(), b.latent.values());
  ASSERT_EQ(a.expanded.values(), b.expanded.values());
}

TEST_P(AttentionBits, DoNotDependOnTheChunksOfAPrompt) {
  const StepOutputs whole = in_steps(kLength, 1, false);
  for (const int64_t step : {7, 64, 511, 512, 513}) {
    SCOPED_TRACE(step);
    expect_same_bits(in_steps(step, 1, false), whole);
  }
}

TEST_P(AttentionBits, DoNotDependOnPagesOrThreads) {
  const StepOutputs plain = in_steps(100, 1, false);
  expect_same_bits(in_steps(100, 1, true), plain);
  expect_same_bits(in_steps(100, 4, false), plain);
  expect_same_bits(in_steps(100, 3, true), plain);
}

TEST_P(AttentionBits, DoNotDependOnTheBatch) {
  TestContext ctx(GetParam().precision, 2);
  const TestWeight w = kv_b();
  const std::vector<int64_t> lengths = {kLength, 3, 100, 20};
  std::vector<TestSequence> sequences;
  for (const int64_t length : lengths) sequences.push_back(sequence(static_cast<uint32_t>(length), length));
  const auto run = [&](const std::vector<size_t>& chosen) {
    TestCache own = cache();
    std::vector<std::vector<int32_t>> pages;
    for (const int64_t length : lengths) pages.push_back(own.take_pages(length));
    std::vector<TestPart> decode, prefill;
    for (const size_t i : chosen) {
      (i < 2 ? decode : prefill).push_back({&sequences[i], &pages[i], 0, lengths[i]});
    }
    return attend_step(ctx, own, w.weight(), kScale, decode, prefill);
  };
  const StepOutputs together = run({0, 1, 2, 3});
  const auto rows = [](const Tensor<float, 3>& tensor, int64_t first, int64_t count) {
    Tensor<float, 3> part({count, tensor.shape()[1], tensor.shape()[2]});
    copy(tensor.view().rows(first, count), part.view());
    return part.values();
  };
  EXPECT_EQ(run({0}).latent.values(), rows(together.latent, 0, kLength));
  EXPECT_EQ(run({1}).latent.values(), rows(together.latent, kLength, 3));
  EXPECT_EQ(run({2}).expanded.values(), rows(together.expanded, 0, 100));
  EXPECT_EQ(run({3}).expanded.values(), rows(together.expanded, 100, 20));
  EXPECT_EQ(run({1, 3}).latent.values(), rows(together.latent, kLength, 3));
}

INSTANTIATE_TEST_SUITE_P(EachPrecision, AttentionBits, testing::ValuesIn(kSettings), [](const auto& setting) {
  return std::string(to_string(setting.param.weights)) + "With" + std::string(to_string(setting.param.cache));
});

// Two keys whose scores are 1026 (or 1024 where the query's 1 + 2^-9 is rounded to BF16) and 1024: rounding turns a clear
// winner into a tie. The keys' latents are 1 and -1, and so the output is their weighted average.
TEST(AttentionRounding, QueriesAreRoundedToBf16) {
  for (const bool f32 : {true, false}) {
    TestContext ctx(Precision{.f32 = f32});
    TestRandom random(4);
    const TestWeight kv_b(random, Format::kF32, kHeads * (kNope + kValue), kRank);
    TestSequence s(random, 2);
    for (auto* tensor : {&s.q.values(), &s.q_latent.values(), &s.kv.values()})
      std::ranges::fill(*tensor, 0.0F);
    for (int64_t j = 0; j < 2; ++j) s.kv.view()[j][0] = j == 0 ? 1.0F : -1.0F;
    s.kv.view()[0][kRank] = 0x1p20F;
    s.kv.view()[1][kRank + 1] = 0x1p10F;
    for (int64_t h = 0; h < kHeads; ++h) {
      for (auto q : {s.q.view()[1][h].slice_last(kNope, kRotary),
                     s.q_latent.view()[1][h].slice_last(kRank, kRotary)}) {
        q[0] = 0x1p-10F * (1.0F + 0x1p-9F);
        q[1] = 1.0F;
      }
    }
    TestCache cache(Format::kF32, 1);
    const std::vector<int32_t> pages = {0};
    const auto decode = attend_step(ctx, cache, kv_b.weight(), 1.0, {{&s, &pages, 0, 2}}, {});
    const auto prefill = attend_step(ctx, cache, kv_b.weight(), 1.0, {}, {{&s, &pages, 0, 2}});
    // (1 - e^-2) / (1 + e^-2), or nothing at all.
    const double average = f32 ? std::tanh(1.0) : 0.0;
    constexpr double kTolerance = 1e-6;
    EXPECT_NEAR(decode.latent.view()[1][0][0], average, kTolerance);
    for (int64_t v = 0; v < kValue; ++v) {
      EXPECT_NEAR(prefill.expanded.view()[1][0][v], average * kv_b.value(kNope + v, 0), kTolerance);
    }
  }
}

// One key has all the weight, so the output is its value: W^UV times the latent, rounded to BF16 unless all is FP32. The
// latent is not quantised under W8A8, whose codes have no 1 + 2^-7.
TEST(AttentionRounding, ExpandedValuesAreRoundedToBf16) {
  TestRandom random(5);
  for (const Precision& precision : kAllPrecisions) {
    for (const Format format : {Format::kF32, Format::kF8E4M3}) {
      TestContext ctx(precision);
      const bool scaled = format == Format::kF8E4M3;
      const TestWeight kv_b(random, format, kHeads * (kNope + kValue), kRank, scaled ? 36 : 0,
                            scaled ? 20 : 0);
      TestSequence s(random, 1);
      std::ranges::fill(s.kv.values(), 0.0F);
      s.kv.view()[0][0] = 1.0F + 0x1p-7F;
      TestCache cache(Format::kF32, 1);
      const std::vector<int32_t> pages = {0};
      const auto out = attend_step(ctx, cache, kv_b.weight(), kScale, {}, {{&s, &pages, 0, 1}});
      for (int64_t h = 0; h < kHeads; ++h) {
        for (int64_t v = 0; v < kValue; ++v) {
          const double w = kv_b.value(h * (kNope + kValue) + kNope + v, 0) / kv_b.scale_at(0, 0);
          // Code times latent is exact in FP32 for FP8 and one rounding for F32, then the scale is one more.
          const float value = static_cast<float>(w) * (1.0F + 0x1p-7F) * kv_b.scale_at(0, 0);
          EXPECT_EQ(out.expanded.view()[0][h][v], precision.f32 ? value : round_to_bf16(value));
        }
      }
    }
  }
}

}  // namespace
}  // namespace hadal::ops
