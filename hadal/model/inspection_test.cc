#include "hadal/model/inspection.h"

#include <gtest/gtest.h>

#include "hadal/io/test_files.h"
#include "hadal/model/changed_config.h"

namespace hadal::model {
namespace {

using io::TempFolder;

const std::string kTinyChat = "models/tiny-chat";

// A folder with the config of tiny-chat, changed as `changes` says.
void write_config(const TempFolder& folder, const std::string& name, const std::string& changes = "{}") {
  json config = read_json_file(name + "/config.json", 1 << 20, ErrorKind::kConfig);
  config.merge_patch(json::parse(changes));
  folder.write("config.json", config.dump());
}

TEST(Inspect, AModelThatRuns) {
  const Inspection found = inspect(kTinyChat);
  EXPECT_EQ(found.folder, kTinyChat);
  EXPECT_TRUE(found.has_weights);
  EXPECT_EQ(found.problem, "");
  EXPECT_EQ(found.mtp_modules, 1);
  EXPECT_EQ(found.size.total_bytes(), io::Checkpoint::open(kTinyChat).total_bytes());
}

TEST(Inspect, AConfigAlone) {
  const Inspection found = inspect(kConfigs + "deepseek_v3.json");
  EXPECT_EQ(found.folder, "");
  EXPECT_FALSE(found.has_weights);
  EXPECT_EQ(found.problem, "");
  EXPECT_EQ(found.mtp_modules, 1);
  EXPECT_EQ(found.size.total_params, 671'026'419'200);
}

TEST(Inspect, AFolderWithoutWeights) {
  const TempFolder folder;
  write_config(folder, kTinyChat);
  const Inspection found = inspect(folder.path());
  EXPECT_EQ(found.folder, folder.path());
  EXPECT_FALSE(found.has_weights);
  EXPECT_EQ(found.problem, "");
  EXPECT_GT(found.size.total_bytes(), 0);
}

TEST(Inspect, WeightsOfAnotherModelAreAProblem) {
  const TempFolder folder;
  write_config(folder, kTinyChat);
  folder.write("model.safetensors",
               io::safetensors_image(R"({"x":{"dtype":"U8","shape":[5],"data_offsets":[0,5]}})", 5));
  const Inspection found = inspect(folder.path());
  EXPECT_TRUE(found.has_weights);
  EXPECT_NE(found.problem.find("model.embed_tokens.weight"), std::string::npos) << found.problem;
  EXPECT_EQ(found.size.total_bytes(), 5);
}

TEST(Inspect, ABrokenFileIsAProblem) {
  const TempFolder folder;
  write_config(folder, kTinyChat);
  folder.write("model.safetensors", "not what it says");
  const Inspection found = inspect(folder.path());
  EXPECT_TRUE(found.has_weights);
  EXPECT_NE(found.problem.find("model.safetensors"), std::string::npos) << found.problem;
  EXPECT_EQ(found.size.total_bytes(), inspect(kTinyChat + "/config.json").size.total_bytes());
}

TEST(Inspect, Fp8WithoutItsSettingsIsAProblem) {
  const TempFolder folder;
  write_config(folder, "tests/golden/v3_fp8", R"({"quantization_config": null})");
  for (const char* file : {"model-00001-of-000002.safetensors", "model-00002-of-000002.safetensors",
                           "model.safetensors.index.json"}) {
    std::filesystem::copy(std::string("tests/golden/v3_fp8/") + file, folder.path());
  }
  EXPECT_NE(inspect(folder.path()).problem.find("quantization_config"), std::string::npos);
  write_config(folder, "tests/golden/v3_fp8");
  EXPECT_EQ(inspect(folder.path()).problem, "");
}

TEST(Inspect, AnMtpModuleThatTheWeightsLack) {
  const TempFolder folder;
  write_config(folder, kTinyChat);
  const io::Checkpoint whole = io::Checkpoint::open(kTinyChat);
  std::vector<io::TensorEntry> main_model;
  for (const io::TensorEntry* tensor : whole.tensors()) {
    if (!tensor->name.starts_with("model.layers.4.")) main_model.push_back(*tensor);
  }
  io::write_safetensors(folder.path("model.safetensors"), main_model);
  const Inspection found = inspect(folder.path());
  EXPECT_EQ(found.problem, "");
  EXPECT_EQ(found.config.num_nextn_predict_layers, 1);
  EXPECT_EQ(found.mtp_modules, 0);
  EXPECT_EQ(found.size.mtp_params, 0);
}

TEST(Inspect, WhatIsNoModelIsAnError) {
  const TempFolder folder;
  EXPECT_NE(io::error_of(ErrorKind::kIo, [&] { inspect(folder.path()); }).find("config.json"),
            std::string::npos);
  write_config(folder, kTinyChat, R"({"model_type": "llama"})");
  EXPECT_NE(io::error_of(ErrorKind::kConfig, [&] { inspect(folder.path()); }).find("llama"),
            std::string::npos);
}

TEST(Describe, InWords) {
  const std::vector<std::string> lines = describe(parse(release("deepseek_v3_1")));
  ASSERT_EQ(lines.size(), 6U);
  EXPECT_EQ(lines[0], "deepseek_v3: 61 layers, 7168 wide, vocabulary of 129280");
  EXPECT_TRUE(
      contains(lines[1], {"latent attention: 128 heads of 128 + 64 (values 128), queries through 1536;",
                          "512 + 64 cached per token and layer"}));
  EXPECT_EQ(lines[2], "3 dense layers, 18432 wide");
  EXPECT_TRUE(
      contains(lines[3], {"58 layers of 256 experts, 2048 wide: 8 a token by sigmoid and correction bias,",
                          "from the best 4 of 8 groups, and 1 shared"}));
  EXPECT_EQ(lines[4], "RoPE with base 10000, stretched 40-fold from 4096 tokens by YaRN");
  EXPECT_EQ(lines[5], "FP8 weights in blocks of 128 x 128, scales that are powers of two (ue8m0)");
}

TEST(Describe, SmallerModels) {
  const std::vector<std::string> lite = describe(parse(release("deepseek_v2_lite")));
  EXPECT_NE(lite[1].find("queries in one step"), std::string::npos);
  EXPECT_NE(lite[3].find("6 a token by softmax, and 2 shared"), std::string::npos);
  const std::vector<std::string> v2 = describe(parse(release("deepseek_v2")));
  EXPECT_NE(v2[3].find("by softmax, from the best 3 of 8 groups, and"), std::string::npos);
  const std::vector<std::string> dense = describe(
      parse(changed("deepseek_v2_lite",
                    R"({"/n_routed_experts": 0, "/tie_word_embeddings": true, "/rope_scaling": null})")));
  ASSERT_EQ(dense.size(), 4U);
  EXPECT_NE(dense[0].find("head tied to the embedding"), std::string::npos);
  EXPECT_EQ(dense[2], "27 dense layers, 10944 wide");
  EXPECT_EQ(dense[3], "RoPE with base 10000");
  const std::vector<std::string> all_moe =
      describe(parse(changed("deepseek_v3", R"({"/first_k_dense_replace": 0})")));
  EXPECT_NE(all_moe[2].find("61 layers of 256 experts"), std::string::npos);
}

TEST(FormatCount, ThreeDigits) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1.00K");
  EXPECT_EQ(format_count(9'994'000), "9.99M");
  EXPECT_EQ(format_count(9'996'000), "10.0M");
  EXPECT_EQ(format_count(99'960'000), "100M");
  EXPECT_EQ(format_count(999'600'000), "1.00B");
  EXPECT_EQ(format_count(671'026'419'200), "671B");
  EXPECT_EQ(format_count(36'625'618'432), "37B");
  EXPECT_EQ(format_count(20'900'000'000), "21B");
  EXPECT_EQ(format_count(15'706'484'224), "15.7B");
  EXPECT_EQ(format_count(2'451'435'008), "2.45B");
  EXPECT_EQ(format_count(5'000'000'000'000'000), "5000T");
}

}  // namespace
}  // namespace hadal::model
