#include "hadal/serve/record.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/core/error.h"

namespace hadal::serve {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

engine::Sampling full_sampling() {
  engine::Sampling s;
  s.temperature = 0.7F;
  s.top_k = 20;
  s.top_p = 0.9F;
  s.min_p = 0.02F;
  s.repetition_penalty = 1.1F;
  s.presence_penalty = 0.3F;
  s.frequency_penalty = -0.2F;
  s.logit_bias[14] = -3.3F;
  s.logit_bias[2] = 100.0F;
  s.seed = std::numeric_limits<uint64_t>::max();
  s.num_logprobs = 5;
  return s;
}

// Every field another value than its default; floats that no short decimal number is.
RequestRecord full_record() {
  RequestRecord record;
  record.version = "0.1.0";
  record.model = {"tiny \"chat\"", std::string(64, 'a'), "bfloat16", "auto", "fp8", "avx512"};
  record.id = "req-1";
  record.index = 2;
  record.tokens = {5, 0, 4095};
  record.logprobs = {-0.1F, -kInfinity, std::bit_cast<float>(0x80000000U)};
  record.prompt_logprobs = {-2.5F, std::bit_cast<float>(0x7fc00001U)};
  record.end = RecordEnd::kLength;
  Submission& s = record.submission;
  s.prompt = {1, 2, 3};
  s.sampling = full_sampling();
  s.max_tokens = 3;
  s.min_tokens = 1;
  s.stop_token_ids = {7, 0};
  s.num_prompt_logprobs = 2;
  s.priority = -4;
  s.cache_salt = "secret";
  s.constraint = Constraint{text::Grammar::Kind::kRegex, "[a-z\"\\\\\n]+ \xc3\xa9"};
  s.thinks = true;
  s.thinking_budget = 9;
  return record;
}

std::vector<uint32_t> bits(const std::vector<float>& numbers) {
  std::vector<uint32_t> bits(numbers.size());
  std::ranges::transform(numbers, bits.begin(), [](float number) { return std::bit_cast<uint32_t>(number); });
  return bits;
}

std::string refusal(const json& line) {
  try {
    static_cast<void>(parse_record(line.dump(), "file:3"));
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kRequest);
    return e.what();
  }
  return "accepted";
}

TEST(Record, ComesBackAsItWas) {
  const RequestRecord record = full_record();
  const std::string line = to_json(record).dump();
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const RequestRecord read = parse_record(line, "file:1");
  EXPECT_EQ(read.version, record.version);
  EXPECT_TRUE(computes_the_same(read.model, record.model));
  EXPECT_EQ(read.model.name, record.model.name);
  EXPECT_EQ(read.id, record.id);
  EXPECT_EQ(read.index, record.index);
  EXPECT_EQ(read.tokens, record.tokens);
  EXPECT_EQ(bits(read.logprobs), bits(record.logprobs));
  EXPECT_EQ(bits(read.prompt_logprobs), bits(record.prompt_logprobs));
  EXPECT_EQ(read.end, record.end);
}

TEST(Record, SubmissionComesBackButForItsSalt) {
  const Submission was = full_record().submission;
  const std::string line = to_json(full_record()).dump();
  EXPECT_EQ(line.find("secret"), std::string::npos);
  const Submission read = parse_record(line, "file:1").submission;
  EXPECT_EQ(read.prompt, was.prompt);
  EXPECT_EQ(read.sampling.temperature, was.sampling.temperature);
  EXPECT_EQ(read.sampling.top_k, was.sampling.top_k);
  EXPECT_EQ(read.sampling.top_p, was.sampling.top_p);
  EXPECT_EQ(read.sampling.min_p, was.sampling.min_p);
  EXPECT_EQ(read.sampling.repetition_penalty, was.sampling.repetition_penalty);
  EXPECT_EQ(read.sampling.presence_penalty, was.sampling.presence_penalty);
  EXPECT_EQ(read.sampling.frequency_penalty, was.sampling.frequency_penalty);
  EXPECT_EQ(read.sampling.logit_bias, was.sampling.logit_bias);
  EXPECT_EQ(read.sampling.seed, was.sampling.seed);
  EXPECT_EQ(read.sampling.num_logprobs, was.sampling.num_logprobs);
  EXPECT_EQ(read.max_tokens, was.max_tokens);
  EXPECT_EQ(read.min_tokens, was.min_tokens);
  EXPECT_EQ(read.stop_token_ids, was.stop_token_ids);
  EXPECT_EQ(read.num_prompt_logprobs, was.num_prompt_logprobs);
  EXPECT_EQ(read.priority, was.priority);
  EXPECT_EQ(read.thinks, was.thinks);
  EXPECT_EQ(read.thinking_budget, was.thinking_budget);
  ASSERT_TRUE(read.constraint);
  EXPECT_EQ(read.constraint->kind, was.constraint->kind);
  EXPECT_EQ(read.constraint->source, was.constraint->source);
  EXPECT_EQ(read.cache_salt, "");
}

TEST(Record, WhatIsMissingOrOfAnotherTypeIsNamed) {
  const json good = to_json(full_record());
  for (const auto& [key, value] : good.items()) {
    json line = good;
    line.erase(key);
    EXPECT_NE(refusal(line).find("file:3\n  key       " + key), std::string::npos) << refusal(line);
    line[key] = json::array({json::object()});
    EXPECT_NE(refusal(line).find("file:3\n  key       " + key), std::string::npos) << refusal(line);
  }
  for (const auto& [key, value] : good["request"].items()) {
    json line = good;
    line["request"].erase(key);
    EXPECT_NE(refusal(line).find("key       request." + key), std::string::npos) << refusal(line);
    line["request"][key] = "text";
    EXPECT_NE(refusal(line).find("key       request." + key), std::string::npos) << refusal(line);
  }
  EXPECT_NE(refusal(json::array()).find("file:3"), std::string::npos);
}

TEST(Record, ValuesOutOfRangeAreRefused) {
  const auto with = [](const char* pointer, json value) {
    json line = to_json(full_record());
    line[json::json_pointer(pointer)] = std::move(value);
    return refusal(line);
  };
  for (const auto& [pointer, value] :
       std::vector<std::pair<const char*, json>>{{"/hadal_record", 2},
                                                 {"/index", -1},
                                                 {"/finish_reason", "maybe"},
                                                 {"/tokens/1", -1},
                                                 {"/tokens/1", 2147483648},
                                                 {"/tokens/1", 1.5},
                                                 {"/tokens", {1, 2, 3, 4}},
                                                 {"/logprob_bits", {0, 0}},
                                                 {"/logprob_bits/0", 4294967296},
                                                 {"/prompt_logprob_bits", {0, 0, 0}},
                                                 {"/request/prompt", json::array()},
                                                 {"/request/prompt/0", 18446744073709551615U},
                                                 {"/request/max_tokens", -1},
                                                 {"/request/sampling/seed", -1},
                                                 {"/request/sampling/temperature", 1e300},
                                                 {"/request/sampling/logit_bias", {{1, 2, 3}}},
                                                 {"/request/sampling/logit_bias", {{1, 2}, {1, 3}}},
                                                 {"/request/constraint/kind", "prose"}}) {
    EXPECT_NE(with(pointer, value).find("expected"), std::string::npos) << pointer << " " << value;
  }
  EXPECT_EQ(with("/request/constraint", nullptr), "accepted");
  EXPECT_EQ(with("/later", "what a later version may add"), "accepted");
}

TEST(Record, MessagesCannotSteerATerminal) {
  json line = to_json(full_record());
  line["finish_reason"] = "\x1b[2Jstop";
  const std::string message = refusal(line);
  EXPECT_EQ(message.find('\x1b'), std::string::npos) << message;
}

class DifferenceTest : public testing::Test {
 protected:
  DifferenceTest() {
    replayed_ = {.tokens = record_.tokens,
                 .logprobs = record_.logprobs,
                 .prompt_logprobs = record_.prompt_logprobs,
                 .reason = engine::FinishReason::kLength};
  }
  void expect(const std::string& beginning) const {
    const std::string found = first_difference(record_, replayed_);
    EXPECT_TRUE(found.starts_with(beginning) && found.empty() == beginning.empty()) << found;
  }

  RequestRecord record_ = full_record();
  Replayed replayed_;
};

TEST_F(DifferenceTest, NoneEvenOfNaN) {
  expect("");
}

TEST_F(DifferenceTest, TheFirstOneIsNamed) {
  replayed_.tokens[1] = 9;
  replayed_.tokens[2] = 8;
  expect("token 1: recorded 0, computed 9");
  replayed_.logprobs[0] = std::nextafter(replayed_.logprobs[0], 0.0F);
  expect("token 0: recorded logprob -0.1 (bdcccccd), computed");
  replayed_.prompt_logprobs[1] = std::bit_cast<float>(0x7fc00002U);
  expect("prompt token from the second on 1: recorded logprob");
}

TEST_F(DifferenceTest, ZeroesOfTwoSignsAreTwo) {
  replayed_.logprobs[2] = 0.0F;
  expect("token 2: recorded logprob");
}

TEST_F(DifferenceTest, AnotherLengthOrEnd) {
  replayed_.reason = engine::FinishReason::kStop;
  expect("end: recorded length, computed stop");
  replayed_.tokens.push_back(1);
  replayed_.logprobs.push_back(0.0F);
  expect("token 3: recorded 3 tokens, computed 4");
  record_.end = RecordEnd::kAbort;  // a beginning is enough
  expect("");
  replayed_.tokens.resize(2);
  replayed_.logprobs.resize(2);
  expect("token 2: recorded 3 tokens, computed 2");
}

TEST(ReplaySubmission, RunsAsLongAsTheRecordAndOneMoreToSeeTheEnd) {
  RequestRecord record = full_record();
  record.submission.max_tokens = 100;
  record.submission.sampling.num_logprobs = -1;
  record.end = RecordEnd::kStop;
  EXPECT_EQ(replay_submission(record)->max_tokens, 4);
  record.end = RecordEnd::kAbort;
  EXPECT_EQ(replay_submission(record)->max_tokens, 3);
  EXPECT_EQ(replay_submission(record)->sampling.num_logprobs, 0);
  record.tokens.clear();
  record.logprobs.clear();
  EXPECT_EQ(replay_submission(record)->max_tokens, 0);  // the prompt's scores are left
  record.prompt_logprobs.clear();
  EXPECT_FALSE(replay_submission(record));
}

}  // namespace
}  // namespace hadal::serve
