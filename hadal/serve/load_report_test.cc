#include "hadal/serve/load_report.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/core/error.h"

namespace hadal::serve {
namespace {

// numpy.percentile's documentation and values by hand.
TEST(Quantile, IsNumPysDefault) {
  EXPECT_EQ(quantile({}, 0.5), 0.0);
  EXPECT_EQ(quantile({7.0}, 0.99), 7.0);
  EXPECT_DOUBLE_EQ(quantile({10, 7, 4, 3, 2, 1}, 0.5), 3.5);
  EXPECT_DOUBLE_EQ(quantile({1, 2}, 0.99), 1.99);
  EXPECT_DOUBLE_EQ(quantile({3, 1, 2}, 0.0), 1.0);
  EXPECT_DOUBLE_EQ(quantile({3, 1, 2}, 1.0), 3.0);
}

LoadSample sample(int64_t in, int64_t out, double first, double total, std::vector<double> gaps) {
  return {.ok = true,
          .error = {},
          .input_tokens = in,
          .output_tokens = out,
          .first_token_s = first,
          .total_s = total,
          .gaps_s = std::move(gaps)};
}

TEST(LoadReport, IsOfWhatSucceeded) {
  std::vector<LoadSample> samples{sample(10, 3, 0.1, 0.3, {0.05, 0.15}), sample(20, 1, 0.3, 0.3, {}), {}};
  const LoadReport report = make_report(samples, 2.0);
  EXPECT_EQ(report.completed, 2);
  EXPECT_EQ(report.failed, 1);
  const json result = to_json(report);
  EXPECT_EQ(result["total_input_tokens"], 30);
  EXPECT_EQ(result["total_output_tokens"], 4);
  EXPECT_DOUBLE_EQ(result["request_throughput"].get<double>(), 1.0);
  EXPECT_DOUBLE_EQ(result["output_throughput"].get<double>(), 2.0);
  EXPECT_DOUBLE_EQ(result["total_token_throughput"].get<double>(), 17.0);
  EXPECT_DOUBLE_EQ(result["mean_ttft_ms"].get<double>(), 200.0);
  EXPECT_DOUBLE_EQ(result["median_itl_ms"].get<double>(), 100.0);
  EXPECT_DOUBLE_EQ(result["mean_tpot_ms"].get<double>(),
                   100.0);  // of the first only: the other has one token
  EXPECT_DOUBLE_EQ(result["p99_e2el_ms"].get<double>(), 300.0);
  const std::string table = to_table(report);
  EXPECT_NE(table.find("Successful requests:                     2         \n"), std::string::npos) << table;
  EXPECT_NE(table.find("Failed requests:                         1"), std::string::npos);
  EXPECT_NE(table.find("P99 E2EL (ms):                           300.00"), std::string::npos);
}

TEST(LoadReport, OfNothing) {
  const LoadReport report = make_report({}, 0.0);
  EXPECT_EQ(to_json(report)["mean_ttft_ms"], 0.0);
  EXPECT_EQ(to_json(report)["request_throughput"], 0.0);
}

TEST(LoadPiece, TextOfBothEndpoints) {
  EXPECT_TRUE(read_piece(R"({"choices":[{"index":0,"text":"a"}]})").has_text);
  EXPECT_FALSE(read_piece(R"({"choices":[{"index":0,"text":""}]})").has_text);
  EXPECT_FALSE(read_piece(R"({"choices":[{"delta":{"role":"assistant","content":""}}]})").has_text);
  EXPECT_TRUE(read_piece(R"({"choices":[{"delta":{"reasoning_content":"hm"}}]})").has_text);
  const LoadPiece usage = read_piece(R"({"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}})");
  EXPECT_EQ(usage.input_tokens, 5);
  EXPECT_EQ(usage.output_tokens, 7);
  EXPECT_FALSE(usage.has_text);
}

TEST(LoadPiece, WhatIsNoneOfThem) {
  EXPECT_THROW(read_piece("{"), Error);
  EXPECT_THROW(read_piece("[1]"), Error);
  EXPECT_THROW(read_piece(R"({"error":{"message":"no"}})"), Error);
  EXPECT_FALSE(read_piece(R"({"choices":7,"usage":[]})").has_text);
  EXPECT_FALSE(read_piece(R"({"choices":[null,{"delta":null},{"text":null}]})").has_text);
}

}  // namespace
}  // namespace hadal::serve
