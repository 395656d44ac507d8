#include "hadal/model/cost.h"

#include <gtest/gtest.h>

#include "hadal/model/changed_config.h"
#include "hadal/model/model_size.h"
#include "hadal/model/weight_scheme.h"

namespace hadal::model {
namespace {

// Parameters by hand. V2-Lite: 27 layers of q 16 * 192 * 2048, kv_a 576 * 2048, o 2048 * 2048, and one dense MLP of
// 3 * 10944 * 2048; kv_b 16 * 256 * 512; 26 layers of router 64 * 2048, shared 3 * 2816 * 2048 and experts 3 * 1408 * 2048.
constexpr double kLiteDense = 382205952, kLiteKvB = 56623104, kLiteAlways = 453246976,
                 kLiteExpert = 224919552, kLiteHead = 209715200;
constexpr double kLiteActive = kLiteDense + kLiteKvB + kLiteAlways + 6 * kLiteExpert + kLiteHead;

CostModel cost_of(const std::string& name, WeightScheme scheme) {
  const ModelConfig config = parse(release(name));
  return CostModel(config, weight_shapes(config, scheme));
}

const Work& part(const StepWork& step, Phase phase) {
  return step[static_cast<size_t>(phase)];
}

double operations(const Work& work, Unit unit) {
  return work.operations[static_cast<size_t>(unit)];
}

TEST(Cost, DecodingOneTokenOfV2Lite) {
  const CostModel cost = cost_of("deepseek_v2_lite", WeightScheme::kBF16);
  const StepWork step = cost.decode(1, 1);
  EXPECT_EQ(part(step, Phase::kDense).bytes, 2 * kLiteDense);
  EXPECT_EQ(part(step, Phase::kDense).total_operations(), 2 * kLiteDense);
  EXPECT_NEAR(part(step, Phase::kExperts).bytes, 2 * (kLiteAlways + 6 * kLiteExpert), 100);
  EXPECT_EQ(part(step, Phase::kHead).bytes, 2 * kLiteHead);
  EXPECT_EQ(part(step, Phase::kAttention).bytes, 2 * kLiteKvB + 27 * 576 * 2);
  EXPECT_EQ(part(step, Phase::kAttention).total_operations(), 2 * kLiteKvB + 2 * (576 + 512) * 16 * 27);
  EXPECT_EQ(operations(part(step, Phase::kExperts), Unit::kF32), 2.0 * 26 * 64 * 2048);  // the routers
  EXPECT_NEAR(total(step).bytes, 2 * kLiteActive + 27 * 576 * 2, 100);
  EXPECT_EQ(part(step, Phase::kSampling).bytes + part(step, Phase::kOther).bytes, 0);
  EXPECT_EQ(cost.cache_bytes_per_token(), 27 * 576 * 2);
}

TEST(Cost, AnFp8CacheIsLessToReadAndAsMuchToMultiply) {
  const ModelConfig config = parse(release("deepseek_v2_lite"));
  const Weights weights = weight_shapes(config, WeightScheme::kBF16);
  const CostModel bf16(config, weights), fp8(config, weights, Format::kF8E4M3);
  EXPECT_EQ(fp8.cache_bytes_per_token(), 27 * 656);
  const Work one = part(bf16.decode(1, 100), Phase::kAttention),
             other = part(fp8.decode(1, 100), Phase::kAttention);
  EXPECT_EQ(one.bytes - other.bytes, 100 * 27 * (1152 - 656));
  EXPECT_EQ(other.operations, one.operations);
}

TEST(Cost, ABatchReadsWeightsOnceAndMoreExperts) {
  const CostModel cost = cost_of("deepseek_v2_lite", WeightScheme::kBF16);
  EXPECT_NEAR(cost.distinct_experts(1), 6, 1e-9);
  EXPECT_NEAR(cost.distinct_experts(4), 20.83099, 1e-5);  // 64 * (1 - (58 / 64)^4)
  EXPECT_NEAR(cost.distinct_experts(100000), 64, 1e-9);
  const StepWork step = cost.decode(4, 100);
  EXPECT_EQ(part(step, Phase::kDense).bytes, 2 * kLiteDense);
  EXPECT_EQ(part(step, Phase::kDense).total_operations(), 4 * 2 * kLiteDense);
  EXPECT_NEAR(part(step, Phase::kExperts).bytes, 2 * (kLiteAlways + 20.83099 * kLiteExpert), 1e4);
  EXPECT_NEAR(part(step, Phase::kExperts).total_operations(), 4 * 2 * (kLiteAlways + 6 * kLiteExpert), 1e3);
  EXPECT_EQ(part(step, Phase::kAttention).bytes, 2 * kLiteKvB + 400 * 27 * 576 * 2);
  EXPECT_EQ(part(step, Phase::kAttention).total_operations(),
            4 * 2 * kLiteKvB + 400.0 * 2 * (576 + 512) * 16 * 27);
}

TEST(Cost, PrefillExpandsAllKeysAndSeesTheEarlierOnes) {
  const CostModel cost = cost_of("deepseek_v2_lite", WeightScheme::kBF16);
  const StepWork step = cost.prefill(10, 4, false);
  EXPECT_EQ(part(step, Phase::kHead).bytes, 0);
  // Tokens 10 to 13 see 11 + 12 + 13 + 14 = 50.
  EXPECT_EQ(part(step, Phase::kAttention).total_operations(),
            14 * 2 * kLiteKvB + 50.0 * 2 * (192 + 128) * 16 * 27);
  EXPECT_EQ(part(step, Phase::kAttention).bytes, 2 * kLiteKvB + 14 * 27 * 576 * 2);
  const StepWork last = cost.prefill(10, 4, true);
  EXPECT_EQ(part(last, Phase::kHead).total_operations(), 2 * kLiteHead);
  EXPECT_EQ(part(last, Phase::kDense).total_operations(), 4 * 2 * kLiteDense);
}

// V3: 36 624 596 992 parameters multiply a token; of these routers (106 430 464) and head (926 679 040) stay BF16. The rest
// are E4M3 in 2 174 040 blocks: kv_a's 576 rows take five of 128.
TEST(Cost, DecodingOneTokenOfV3InFp8) {
  const CostModel cost = cost_of("deepseek_v3", WeightScheme::kFP8);
  const Work work = total(cost.decode(1, 1));
  EXPECT_NEAR(work.bytes, 35591487488 + 4.0 * 2174040 + 2.0 * (106430464 + 926679040) + 61 * 576 * 2, 1000);
  EXPECT_NEAR(work.total_operations(), 2 * 36624596992 + 2.0 * (576 + 512) * 128 * 61, 1000);
}

TEST(Cost, FormatsOfTheSchemes) {
  const auto expert_bytes = [](WeightScheme scheme) {
    const CostModel cost = cost_of("deepseek_v2_lite", scheme);
    return part(cost.decode(1, 1), Phase::kExperts).bytes;
  };
  const double routers = 2.0 * 26 * 64 * 2048, weights = 6 * kLiteExpert + kLiteAlways - 26.0 * 64 * 2048;
  EXPECT_NEAR(expert_bytes(WeightScheme::kBF16), 2 * weights + routers, 100);
  EXPECT_NEAR(expert_bytes(WeightScheme::kFP8) / (weights * (1 + 4.0 / 16384) + routers), 1, 1e-6);
  // Scales of INT8: a float for each row, of 2048 or (down_proj) 1408 and 2816 columns.
  const double rows = 26.0 * (6 * (2 * 1408 + 2048) + 2 * 2816 + 2048);
  EXPECT_NEAR(expert_bytes(WeightScheme::kInt8), weights + 4 * rows + routers, 100);
  const double routed = 6 * kLiteExpert;  // INT4, with a byte for each 64; the shared ones stay INT8
  EXPECT_NEAR(expert_bytes(WeightScheme::kInt4),
              weights - routed + routed / 2 + routed / 64 + 4 * rows + routers, 100);
  const StepWork step = cost_of("deepseek_v2_lite", WeightScheme::kInt4).decode(1, 1);
  EXPECT_EQ(operations(part(step, Phase::kDense), Unit::kInt8), 2 * kLiteDense);
  EXPECT_EQ(operations(part(step, Phase::kHead), Unit::kInt8), 2 * kLiteHead);
  EXPECT_NEAR(part(step, Phase::kHead).bytes, kLiteHead + 4 * 102400, 1);
}

TEST(Cost, WeightBytesAgreeWithModelSize) {
  for (const char* name : {"deepseek_v2_lite", "deepseek_v2", "deepseek_v3"}) {
    const ModelConfig config = parse(release(name));
    const WeightScheme scheme = config.quantization ? WeightScheme::kFP8 : WeightScheme::kBF16;
    const auto expected = static_cast<double>(implied_size(config).total_bytes());
    EXPECT_NEAR(weight_bytes(config, weight_shapes(config, scheme)) / expected, 1, 1e-4) << name;  // norms
  }
}

TEST(Cost, LeastTimeIsTheSlowerOfReadingAndArithmeticInEachPhase) {
  StepWork step{};
  step[0].bytes = 10;  // 10 s of reading
  step[0].operations = {1, 4, 8};
  step[1].bytes = 1;
  step[1].operations = {0, 40, 0};  // 10 s of arithmetic
  const MachineLimits limits{.read_bytes_per_s = 1, .op_per_s = {1, 4, 8}};
  EXPECT_DOUBLE_EQ(least_seconds(step, limits), 20);
}

}  // namespace
}  // namespace hadal::model
