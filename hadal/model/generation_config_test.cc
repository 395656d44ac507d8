#include "hadal/model/generation_config.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/core/test_files.h"

namespace hadal::model {
namespace {

ModelConfig small_config() {
  ModelConfig c;
  c.vocab_size = 1000;
  c.eos_token_ids = {7};
  return c;
}

GenerationConfig parse(const std::string& text) {
  return parse_generation_config(json::parse(text), "generation_config.json", small_config());
}

void expect_refused(const std::string& key, const std::string& value, const std::string& expected) {
  try {
    parse("{\"" + key + "\": " + value + "}");
    ADD_FAILURE() << key << " = " << value << " was accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kConfig);
    const std::string message = e.what();
    EXPECT_EQ(message.find("generation_config.json\n  key       " + key + "\n  expected  " + expected), 0U)
        << message;
  }
}

TEST(GenerationConfig, TheFileOfV2Lite) {
  const GenerationConfig g = parse(R"({"_from_model_config": true, "bos_token_id": 0, "eos_token_id": 1,
      "do_sample": true, "temperature": 0.3, "top_p": 0.95, "transformers_version": "4.39.3"})");
  EXPECT_EQ(g.temperature, 0.3);
  EXPECT_EQ(g.top_p, 0.95);
  EXPECT_EQ(g.top_k, 0);
  EXPECT_EQ(g.repetition_penalty, 1.0);
  EXPECT_EQ(g.eos_token_ids, std::vector<int64_t>{1});
}

TEST(GenerationConfig, AbsentAndNullKeysTakeTheDefaults) {
  for (const char* text :
       {"{}", R"({"temperature": null, "top_p": null, "top_k": null, "repetition_penalty": null,
      "eos_token_id": null, "do_sample": null})"}) {
    const GenerationConfig g = parse(text);
    EXPECT_EQ(g.temperature, 1.0);
    EXPECT_EQ(g.top_p, 1.0);
    EXPECT_EQ(g.top_k, 0);
    EXPECT_EQ(g.repetition_penalty, 1.0);
    EXPECT_EQ(g.eos_token_ids, std::vector<int64_t>{7});  // config.json's
  }
}

TEST(GenerationConfig, IntegersAreNumbersToo) {
  const GenerationConfig g = parse(R"({"temperature": 0, "top_p": 1, "top_k": 50, "repetition_penalty": 2})");
  EXPECT_EQ(g.temperature, 0.0);
  EXPECT_EQ(g.top_p, 1.0);
  EXPECT_EQ(g.top_k, 50);
  EXPECT_EQ(g.repetition_penalty, 2.0);
}

TEST(GenerationConfig, WithoutSamplingTemperatureIsZero) {
  EXPECT_EQ(parse(R"({"do_sample": false, "temperature": 0.6})").temperature, 0.0);
  EXPECT_EQ(parse(R"({"do_sample": true, "temperature": 0.6})").temperature, 0.6);
}

TEST(GenerationConfig, SeveralEosIds) {
  EXPECT_EQ(parse(R"({"eos_token_id": [1, 3]})").eos_token_ids, (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(parse(R"({"eos_token_id": []})").eos_token_ids, std::vector<int64_t>{7});
}

TEST(GenerationConfig, WrongValuesAreRefusedByName) {
  for (const char* value : {"-0.1", "101", "\"0.6\"", "true"})
    expect_refused("temperature", value, "a number");
  for (const char* value : {"0", "-0.5", "1.01", "[]"}) expect_refused("top_p", value, "a number above 0");
  for (const char* value : {"-1", "1.5", "2147483648", "true"})
    expect_refused("top_k", value, "an integer from 0");
  for (const char* value : {"0", "-1", "\"1\""})
    expect_refused("repetition_penalty", value, "a number above 0");
  for (const char* value : {"1000", "-1", "[1, 1000]", "1.0"})
    expect_refused("eos_token_id", value, "an integer from 0 to 999");
  expect_refused("do_sample", "1", "true or false");
}

TEST(GenerationConfig, UnknownKeysAreSkipped) {
  EXPECT_EQ(parse(R"({"max_new_tokens": 20, "watermarking_config": {}, "temperature": 0.5})").temperature,
            0.5);
}

TEST(GenerationConfig, IsReadFromTheFolder) {
  const GenerationConfig g = load_generation_config("models/tiny-chat", small_config());
  EXPECT_EQ(g.temperature, 0.6);
  EXPECT_EQ(g.top_p, 0.95);
  EXPECT_EQ(g.eos_token_ids, std::vector<int64_t>{1});
}

TEST(GenerationConfig, AnAbsentFileGivesTheDefaults) {
  const GenerationConfig g = load_generation_config("tests/data/configs", small_config());
  EXPECT_EQ(g.temperature, 1.0);
  EXPECT_EQ(g.eos_token_ids, std::vector<int64_t>{7});
}

TEST(GenerationConfig, ErrorsNameTheFile) {
  const TempFolder folder;
  const std::string file = folder.write("generation_config.json", R"({"top_p": 2})");
  const std::string message =
      error_of(ErrorKind::kConfig, [&] { load_generation_config(folder.path(), small_config()); });
  EXPECT_TRUE(message.starts_with(file + "\n")) << message;
}

}  // namespace
}  // namespace hadal::model
