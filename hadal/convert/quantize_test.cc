#include "hadal/convert/quantize.h"

#include <gtest/gtest.h>

#include "hadal/convert/codec.h"
#include "hadal/convert/test_checkpoint.h"
#include "hadal/core/json.h"

namespace hadal::convert {
namespace {

namespace fs = std::filesystem;

std::string text_of(const std::string& path) {
  return read_text_file(path, 1 << 30, ErrorKind::kIo);
}

TEST(Plan, EachTensorOnceAndLargeOnesAligned) {
  model::Model source = model::bind_model(kBf16);
  for (const Format format : {Format::kI4, Format::kI8, Format::kF8E4M3}) {
    const std::vector<Shard> plan = make_plan(source, {.format = format, .keep = {}, .shard_bytes = 200'000});
    EXPECT_GT(plan.size(), 2U);
    std::map<std::string, int> names;
    for (const Shard& shard : plan) {
      bool is_aligned = true;
      for (const io::TensorEntry& tensor : shard.tensors()) {
        ++names[tensor.name];
        int64_t bytes = io::size_of(tensor.dtype);
        for (const int64_t extent : tensor.shape) bytes *= extent;
        if (bytes % 64 != 0) is_aligned = false;
        EXPECT_TRUE(is_aligned || bytes % 64 != 0) << tensor.name << " after one that ends between";
      }
    }
    for (const io::TensorEntry* tensor : source.checkpoint.tensors())
      EXPECT_EQ(names[tensor->name], 1) << tensor->name;
  }
}

TEST(Plan, KeepIsSearchedForInNames) {
  model::Model source = model::bind_model(kBf16);
  const std::vector<Shard> plan = make_plan(source, {.keep = {"experts\\.[0-3]\\.", "o_proj"}});
  for (const Item& item : plan[0].items) {
    const std::string& name = item.written[0].name;
    const bool kept =
        name.find("o_proj") != std::string::npos || name.find(".experts.2.") != std::string::npos;
    if (kept) {
      EXPECT_TRUE(item.is_copy()) << name;
    }
    if (name.find(".experts.4.") != std::string::npos && name.ends_with("proj.weight")) {
      EXPECT_FALSE(item.is_copy()) << name;
    }
  }
}

TEST(Plan, OptionsThatDoNotFit) {
  model::Model source = model::bind_model(kBf16), fp8 = model::bind_model(kFp8);
  EXPECT_TRUE(contains(error_of(ErrorKind::kUsage, [&] { make_plan(source, {.keep = {"("}}); }),
                       {"--keep (", "a regular expression"}));
  EXPECT_TRUE(contains(error_of(ErrorKind::kUsage,
                                [&] {
                                  make_plan(source, {.keep = {"o_proj", "nothing"}});
                                }),
                       {"--keep nothing", "name of a tensor"}));
  EXPECT_TRUE(
      contains(error_of(ErrorKind::kUsage, [&] { make_plan(fp8, {.format = Format::kF8E4M3, .keep = {}}); }),
               {kFp8, "F8_E4M3"}));
}

// What the result says of a weight, against the source, in double.
double relative_error(const Weight& source, const Weight& result) {
  SquaredError sum;
  std::vector<float> a(static_cast<size_t>(source.in_features)), b(a.size());
  for (int64_t n = 0; n < source.out_features; ++n) {
    expand_row(source, n, a.data());
    expand_row(result, n, b.data());
    for (size_t k = 0; k < a.size(); ++k) {
      const double x = a[k], off = b[k] - x;
      sum += {off * off, x * x};
    }
  }
  return sum.relative();
}

TEST(Quantize, ErrorsOfEachFormat) {
  struct Case {
    std::string source;
    Format format;
    double least, most;  // random weights of about normal distribution
  };
  for (const Case& c : {Case{kBf16, Format::kI8, 0.002, 0.012}, Case{kBf16, Format::kI4, 0.06, 0.12},
                        Case{kBf16, Format::kF8E4M3, 0.02, 0.03}, Case{kFp8, Format::kI4, 0.06, 0.12}}) {
    const TempFolder scratch;
    const QuantizeSummary done = quantized(c.source, scratch.path("out"), {.format = c.format, .keep = {}});
    const model::Model source = model::bind_model(c.source), result = model::bind_model(scratch.path("out"));
    const Weight& before = source.weights.layers[1].moe.gate_proj[0];
    const Weight& after = result.weights.layers[1].moe.gate_proj[0];
    EXPECT_EQ(after.format, c.format);
    const double error = relative_error(before, after);
    EXPECT_GE(error, c.least);
    EXPECT_LE(error, c.most);
    EXPECT_LE(error, done.worst_error * 1.00001);
    EXPECT_LE(done.error.relative(), c.most);
    EXPECT_EQ(relative_error(source.weights.embed_tokens, result.weights.embed_tokens), 0.0);
    const std::string header = text_of(scratch.path("out/model-00001-of-00001.safetensors"));
    EXPECT_NE(header.find(fmt::format("\"{}\":\"relative_error={:.4e} sha256=", before.name, error)),
              std::string::npos);
  }
}

TEST(Quantize, KeptFp8KeepsItsScales) {
  const TempFolder scratch;
  quantized(kFp8, scratch.path("out"), {.keep = {"self_attn"}});
  const model::Model source = model::bind_model(kFp8), result = model::bind_model(scratch.path("out"));
  EXPECT_EQ(
      relative_error(source.weights.layers[1].self_attn.o_proj, result.weights.layers[1].self_attn.o_proj),
      0.0);
  EXPECT_EQ(result.weights.layers[1].self_attn.o_proj.format, Format::kF8E4M3);
  EXPECT_EQ(result.weights.layers[1].moe.up_proj[0].format, Format::kI4);
  EXPECT_EQ(result.config.quantization->block_rows, source.config.quantization->block_rows);
}

TEST(Quantize, SameBytesForAnyNumberOfThreads) {
  const TempFolder scratch;
  quantized(kBf16, scratch.path("one"), {.keep = {}}, 1);
  quantized(kBf16, scratch.path("three"), {.keep = {}}, 3);
  for (const auto& entry : fs::directory_iterator(scratch.path("one"))) {
    const std::string name = entry.path().filename().string();
    EXPECT_EQ(text_of(scratch.path("one/" + name)), text_of(scratch.path("three/" + name))) << name;
  }
}

TEST(Quantize, GoesOnWhereItWasCutOff) {
  const TempFolder scratch;
  const std::string whole = scratch.path("whole"), cut = scratch.path("cut");
  const QuantizeOptions options{.keep = {}, .shard_bytes = 200'000};
  const QuantizeSummary first = quantized(kBf16, whole, options);
  EXPECT_GT(first.files, 2);
  quantized(kBf16, cut, options);
  model::Model source = model::bind_model(kBf16);
  const std::string second = cut + "/" + make_plan(source, options)[1].file;
  const auto untouched = fs::last_write_time(cut + "/quantize.json");
  fs::remove(second);
  fs::remove(cut + "/config.json");
  std::ofstream(second + ".tmp-12345") << "half";
  const QuantizeSummary again = quantized(kBf16, cut, options);
  EXPECT_EQ(again.files_kept, first.files - 1);
  EXPECT_EQ(fs::last_write_time(cut + "/quantize.json"), untouched);
  EXPECT_FALSE(fs::exists(second + ".tmp-12345"));
  for (const auto& entry : fs::directory_iterator(whole)) {
    const std::string name = entry.path().filename().string();
    EXPECT_EQ(text_of(whole + "/" + name), text_of(cut + "/" + name)) << name;
  }
}

TEST(Quantize, DoesNotMixRunsOrFolders) {
  const TempFolder scratch;
  const std::string out = scratch.path("out");
  quantized(kBf16, out, {.keep = {}});
  EXPECT_TRUE(
      contains(error_of(ErrorKind::kUsage, [&] { quantized(kBf16, out, {.group_size = 32, .keep = {}}); }),
               {"quantize.json", "options", "\"group_size\": 32"}));
  EXPECT_TRUE(
      contains(error_of(ErrorKind::kUsage, [&] { quantized(kFp8, out, {.keep = {}}); }), "quantize.json"));
  EXPECT_TRUE(contains(error_of(ErrorKind::kUsage, [&] { quantized(kBf16, kBf16, {.keep = {}}); }),
                       "another folder"));
  EXPECT_TRUE(contains(
      error_of(ErrorKind::kUsage, [&] { quantized(out, scratch.path("twice"), {.keep = {}}); }), "I4"));
  scratch.write("other/file", "x");
  EXPECT_TRUE(
      contains(error_of(ErrorKind::kUsage, [&] { quantized(kBf16, scratch.path("other"), {.keep = {}}); }),
               "new, empty or half done"));
  EXPECT_TRUE(
      contains(error_of(ErrorKind::kIo, [&] { quantized(kBf16, scratch.path("other/file"), {.keep = {}}); }),
               "cannot be made a folder"));
}

TEST(Quantize, FileOfAnotherPlanIsNotTakenForDone) {
  const TempFolder scratch;
  const std::string out = scratch.path("out");
  quantized(kBf16, out, {.keep = {}});
  edit_tensors(out, [](Tensors& tensors) { tensors.erase("model.norm.weight"); });
  EXPECT_TRUE(contains(error_of(ErrorKind::kCheckpoint, [&] { quantized(kBf16, out, {.keep = {}}); }),
                       {"model-00001-of-00001.safetensors", "remove this file"}));
}

}  // namespace
}  // namespace hadal::convert
