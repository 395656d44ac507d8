// What the reader makes of quantised checkpoints, whole and damaged.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/convert/codec.h"
#include "hadal/convert/test_checkpoint.h"
#include "hadal/core/json.h"
#include "hadal/model/inspection.h"

namespace hadal::convert {
namespace {

const std::string kLinear = "model.layers.1.mlp.experts.0.gate_proj.weight";
const std::string kKvB = "model.layers.0.self_attn.kv_b_proj.weight";

void edit_config(const std::string& folder, const std::string& changes) {
  const std::string path = folder + "/config.json";
  json config = read_json_file(path, 1 << 20, ErrorKind::kConfig);
  config["quantization_config"].merge_patch(json::parse(changes));
  std::ofstream(path) << config.dump();
}

class QuantizedModel : public testing::Test {
 protected:
  void SetUp() override { quantized(kBf16, folder_, {.format = Format::kI4, .group_size = 32, .keep = {}}); }

  // Binds and looks at all numbers, as loading does.
  void load() const {
    ThreadPool pool(2);
    model::load_model(folder_, pool);
  }
  std::string refusal(ErrorKind kind, const std::function<void(Tensors&)>& edit) const {
    edit_tensors(folder_, edit);
    return error_of(kind, [&] { load(); });
  }

  TempFolder scratch_;
  std::string folder_ = scratch_.path("out");
};

TEST_F(QuantizedModel, ViewsAreAsTheFilesHaveThem) {
  const model::Model model = model::bind_model(folder_);
  const Weight& w = model.weights.layers[1].moe.gate_proj[0];
  EXPECT_EQ(w.format, Format::kI4);
  EXPECT_EQ(w.group, 32);
  EXPECT_EQ(w.block_rows, 1);
  EXPECT_EQ(w.block_cols, w.in_features);
  const io::TensorEntry* groups = model.checkpoint.find(kLinear + "_group");
  ASSERT_NE(groups, nullptr);
  EXPECT_EQ(static_cast<const void*>(w.group_code), groups->data.data());
  EXPECT_EQ(groups->shape, (std::vector<int64_t>{w.out_features, (w.in_features + 31) / 32}));
  const Weight& kv_b = model.weights.layers[0].self_attn.kv_b_proj;
  EXPECT_EQ(kv_b.format, Format::kI8);
  EXPECT_EQ(kv_b.scale_cols(), 1);
  EXPECT_EQ(model.weights.layers[0].self_attn.q_b_proj.format, Format::kI4);
  EXPECT_EQ(model.weights.layers[0].self_attn.o_proj.format, Format::kI8);
  EXPECT_EQ(model.weights.layers[0].mlp.gate_proj.format, Format::kI8);
  EXPECT_EQ(model.weights.layers[1].moe.shared_experts.down_proj.format, Format::kI8);
  EXPECT_EQ(model.weights.lm_head.format, Format::kI8);
  EXPECT_EQ(model.weights.embed_tokens.format, Format::kBF16);
  EXPECT_EQ(model.weights.layers[1].moe.gate.format, Format::kBF16);
  load();
}

TEST_F(QuantizedModel, Int8MayHaveAFactorForEach128Columns) {
  edit_tensors(folder_, [](Tensors& tensors) {
    OwnTensor& scale = tensors[kLinear + "_scale"];  // now of an INT8 weight
    OwnTensor& w = tensors[kLinear];
    const model::ModelConfig config = model::load_config(kBf16);
    const int64_t rows = config.moe_intermediate_size, groups = (config.hidden_size + 127) / 128;
    w.entry.dtype = io::DType::kI8;
    w.entry.shape = {rows, config.hidden_size};
    w.bytes.assign(static_cast<size_t>(rows * config.hidden_size), std::byte{1});
    scale.entry.shape = {rows, groups};
    scale.bytes.assign(static_cast<size_t>(rows * groups) * sizeof(float), std::byte{0});
    tensors.erase(kLinear + "_group");
  });
  load();
  const model::Model model = model::bind_model(folder_);
  const Weight& w = model.weights.layers[1].moe.gate_proj[0];
  EXPECT_EQ(w.format, Format::kI8);
  EXPECT_EQ(w.scale_cols(), (w.in_features + 127) / 128);
}

TEST_F(QuantizedModel, WhatIsMissing) {
  EXPECT_TRUE(contains(refusal(ErrorKind::kCheckpoint, [](Tensors& t) { t.erase(kLinear + "_group"); }),
                       {kLinear + "_group", "columns of the weight / group_size", "no tensor of this name"}));
}

TEST_F(QuantizedModel, AMissingScale) {
  EXPECT_TRUE(contains(refusal(ErrorKind::kCheckpoint, [](Tensors& t) { t.erase(kKvB + "_scale"); }),
                       {kKvB + "_scale", "no tensor of this name"}));
}

TEST_F(QuantizedModel, WrongShape) {
  EXPECT_TRUE(contains(refusal(ErrorKind::kCheckpoint,
                               [](Tensors& t) {
                                 OwnTensor& w = t[kLinear];
                                 w.entry.shape = {w.entry.shape[0] / 2, w.entry.shape[1] * 2};
                               }),
                       {"tensor    " + kLinear, "in blocks of 64 in 32 bytes"}));
}

TEST_F(QuantizedModel, WrongTypeOfTheScale) {
  EXPECT_TRUE(contains(
      refusal(ErrorKind::kCheckpoint, [](Tensors& t) { t[kKvB + "_scale"].entry.dtype = io::DType::kI32; }),
      {kKvB + "_scale", "expected  F32", "found     I32"}));
}

TEST_F(QuantizedModel, TensorsThatAreNeverQuantised) {
  const std::string router = "model.layers.1.mlp.gate.weight";
  const std::string message = refusal(ErrorKind::kCheckpoint, [&](Tensors& t) {
    OwnTensor& w = t[router];
    w.entry.dtype = io::DType::kI8;
    w.bytes.resize(w.bytes.size() / 2);
  });
  EXPECT_TRUE(contains(message, {router, "never quantised", "I8"}));
}

TEST_F(QuantizedModel, GroupWhoseProductsDoNotFit8Bits) {
  const std::string message = refusal(ErrorKind::kCheckpoint, [](Tensors& t) {
    OwnTensor& groups = t[kLinear + "_group"];
    groups.bytes[static_cast<size_t>(groups.entry.shape[1])] = std::byte{0x09};  // 9 * 15 = 135
  });
  EXPECT_TRUE(contains(message, {kLinear + "_group", "s * max(z, 15 - z) <= 127", "at [1, 0]"}));
}

TEST_F(QuantizedModel, TheLargestGroupsThatFit) {
  edit_tensors(folder_, [](Tensors& t) {
    for (size_t i = 0; i < 4; ++i)
      t[kLinear + "_group"].bytes[i] =
          std::array<std::byte, 4>{std::byte{0x08}, std::byte{0xf8}, std::byte{0x7f}, std::byte{0x8f}}[i];
  });
  load();
}

TEST_F(QuantizedModel, TheCodeThatInt8DoesNotHave) {
  const std::string message =
      refusal(ErrorKind::kCheckpoint, [](Tensors& t) { t[kKvB].bytes[5] = std::byte{0x80}; });
  EXPECT_TRUE(contains(message, {kKvB, "codes from -127 to 127", "-128 at [0, 5]"}));
}

TEST_F(QuantizedModel, ScaleThatIsNoNumber) {
  const std::string message = refusal(ErrorKind::kCheckpoint, [](Tensors& t) {
    t[kLinear + "_scale"].bytes[3] = std::byte{0x7f};
    t[kLinear + "_scale"].bytes[2] = std::byte{0xc0};
  });
  EXPECT_TRUE(contains(message, {kLinear + "_scale", "NaN or infinity at [0, 0]"}));
}

TEST_F(QuantizedModel, ConfigThatDoesNotSayHow) {
  edit_config(folder_, R"({"format": "int8", "group_size": null})");
  EXPECT_TRUE(contains(error_of(ErrorKind::kConfig, [&] { load(); }), {"quantization_config", "group_size"}));
  edit_config(folder_, R"({"format": "int4", "group_size": 64})");
  EXPECT_TRUE(contains(error_of(ErrorKind::kCheckpoint, [&] { load(); }), "_group"));
}

TEST_F(QuantizedModel, IntegersAreNotReadAsFp8) {
  edit_config(
      folder_,
      R"({"quant_method": "fp8", "weight_block_size": [128, 128], "format": null, "group_size": null})");
  EXPECT_TRUE(contains(error_of(ErrorKind::kConfig, [&] { load(); }),
                       {"quantization_config", "expected  quant_method \"hadal\"", "quant_method \"fp8\""}));
}

TEST_F(QuantizedModel, InspectionKnowsTheFormats) {
  const model::Inspection found = model::inspect(folder_);
  EXPECT_EQ(found.problem, "");
  std::map<std::string, int64_t> bytes;
  for (const model::FormatBytes& format : found.size.bytes_by_format) bytes[format.format] = format.bytes;
  const model::ModelSize implied = model::implied_size(found.config);
  for (const model::FormatBytes& format : implied.bytes_by_format)
    EXPECT_EQ(bytes[format.format], format.bytes) << format.format;
  EXPECT_EQ(bytes.size(), implied.bytes_by_format.size());
  EXPECT_LT(found.size.bits_per_param(), 16.0);
}

}  // namespace
}  // namespace hadal::convert
