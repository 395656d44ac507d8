#include "hadal/io/checkpoint.h"

#include <array>
#include <utility>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "hadal/io/shard_index.h"
#include "hadal/io/test_files.h"

namespace hadal::io {
namespace {

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kFirst = "model-00001-of-000002.safetensors";
constexpr const char* kSecond = "model-00002-of-000002.safetensors";

// A file with one-byte tensors of these names, in this order.
std::string shard(const std::vector<std::string>& names) {
  std::string header = "{";
  for (size_t i = 0; i < names.size(); ++i) {
    header += fmt::format(R"({}"{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})", i > 0 ? "," : "",
                          names[i], i, i + 1);
  }
  return safetensors_image(header + "}", names.size());
}

std::string index_of(std::string_view weight_map) {
  return fmt::format(R"({{"metadata":{{"total_size":3}},"weight_map":{{{}}}}})", weight_map);
}

std::string refusal_of(const TempFolder& folder) {
  return error_of(ErrorKind::kCheckpoint, [&] { static_cast<void>(Checkpoint::open(folder.path())); });
}

// a and b in the first shard, c in the second.
void write_two_shards(const TempFolder& folder) {
  folder.write(kFirst, shard({"b", "a"}));
  folder.write(kSecond, shard({"c"}));
  folder.write(kIndex, index_of(fmt::format(R"("a":"{0}","b":"{0}","c":"{1}")", kFirst, kSecond)));
}

TEST(Checkpoint, OpensShards) {
  const TempFolder folder;
  write_two_shards(folder);
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_EQ(checkpoint.folder(), folder.path());
  EXPECT_EQ(checkpoint.files().size(), 2U);
  EXPECT_EQ(checkpoint.total_bytes(), 3);
  EXPECT_EQ(checkpoint.file_of("c"), folder.path(kSecond));
  EXPECT_EQ(checkpoint.find("absent"), nullptr);
  ASSERT_NE(checkpoint.find("a"), nullptr);
  EXPECT_EQ(checkpoint.find("a")->data[0], std::byte{1});

  std::string names;
  for (const TensorEntry* tensor : checkpoint.tensors()) names += tensor->name;
  EXPECT_EQ(names, "abc");  // by name, not by place
}

TEST(Checkpoint, StaysValidWhenMoved) {
  const TempFolder folder;
  write_two_shards(folder);
  Checkpoint first = Checkpoint::open(folder.path());
  const TensorEntry* tensor = first.find("c");
  const Checkpoint second = std::move(first);
  EXPECT_EQ(second.find("c"), tensor);
  EXPECT_EQ(second.file_of("c"), folder.path(kSecond));
}

TEST(Checkpoint, PrefersTheIndexThenModelThenTheOnlyFile) {
  const TempFolder folder;
  folder.write("other.safetensors", shard({"x"}));
  EXPECT_NE(Checkpoint::open(folder.path()).find("x"), nullptr);
  folder.write("model.safetensors", shard({"y"}));
  EXPECT_NE(Checkpoint::open(folder.path()).find("y"), nullptr);
  EXPECT_EQ(Checkpoint::open(folder.path()).find("x"), nullptr);
  write_two_shards(folder);
  EXPECT_NE(Checkpoint::open(folder.path()).find("a"), nullptr);
  EXPECT_EQ(Checkpoint::open(folder.path()).find("y"), nullptr);
}

TEST(Checkpoint, OneFileNeedsNoIndexUnlessItIsOneOfSeveral) {
  for (const char* name : {"weights.safetensors", "best-of-breed.safetensors",
                           "model-00001-of-00001.safetensors", "model-00001-of-000001.safetensors"}) {
    const TempFolder folder;
    folder.write(name, shard({"a"}));
    EXPECT_NO_THROW(static_cast<void>(Checkpoint::open(folder.path()))) << name;
  }
  for (const char* name : {kFirst, kSecond, "model-00001-of-00011.safetensors"}) {
    const TempFolder folder;
    folder.write(name, shard({"a"}));
    EXPECT_TRUE(contains(refusal_of(folder), folder.path(kIndex) + "\n  expected  this file")) << name;
  }
}

TEST(Checkpoint, ShardsWithoutIndexAreRefused) {
  const TempFolder folder;
  folder.write(kFirst, shard({"a"}));
  folder.write(kSecond, shard({"b"}));
  EXPECT_TRUE(contains(refusal_of(folder), {kIndex, "2 *.safetensors", kFirst}));
}

TEST(Checkpoint, SeveralFilesWithoutIndexAreRefusedWhateverTheirNames) {
  const TempFolder folder;
  folder.write("a.safetensors", shard({"a"}));
  folder.write("b.safetensors", shard({"b"}));
  EXPECT_TRUE(contains(refusal_of(folder), {kIndex, "2 *.safetensors", "a.safetensors"}));
}

TEST(Checkpoint, AFolderWithoutWeightsSaysWhatIsRead) {
  const TempFolder folder;
  folder.write("pytorch_model.bin", "");
  EXPECT_TRUE(contains(refusal_of(folder), {folder.path(), "no *.safetensors", ".gguf"}));
}

TEST(Checkpoint, AnAbsentFolderIsAnIoError) {
  EXPECT_TRUE(contains(error_of(ErrorKind::kIo, [] { static_cast<void>(Checkpoint::open("/absent")); }),
                       "/absent\n"));
}

TEST(Checkpoint, AbsentShardIsNamedWithTheIndex) {
  const TempFolder folder;
  write_two_shards(folder);
  std::filesystem::remove(folder.path(kSecond));
  EXPECT_TRUE(contains(refusal_of(folder),
                       {folder.path(kIndex), "tensor    c", folder.path(kSecond), "no such file"}));
  // As the cache of an unfinished download has it.
  std::filesystem::create_symlink("/absent/blob", folder.path(kSecond));
  EXPECT_TRUE(contains(refusal_of(folder), "no such file"));
}

TEST(Checkpoint, TheIndexAndTheShardsMustAgree) {
  const TempFolder folder;
  write_two_shards(folder);
  const std::string all = fmt::format(R"("a":"{0}","b":"{0}","c":"{1}")", kFirst, kSecond);
  folder.write(kIndex, index_of(fmt::format(R"({},"d":"{}")", all, kSecond)));
  EXPECT_TRUE(contains(refusal_of(folder), {"tensor    d", "found     it in no file"}));
  folder.write(kIndex, index_of(fmt::format(R"("a":"{0}","c":"{1}")", kFirst, kSecond)));
  EXPECT_TRUE(contains(refusal_of(folder), {"tensor    b", "found     no entry"}));
  folder.write(kIndex, index_of(fmt::format(R"("a":"{1}","b":"{0}","c":"{1}")", kFirst, kSecond)));
  EXPECT_TRUE(contains(refusal_of(folder), {"tensor    a\n  expected  it in " + folder.path(kSecond),
                                            "found     it in " + folder.path(kFirst)}));
}

TEST(Checkpoint, OneTensorMayNotBeInTwoShards) {
  const TempFolder folder;
  write_two_shards(folder);
  folder.write(kSecond, shard({"c", "a"}));
  EXPECT_TRUE(contains(refusal_of(folder),
                       {folder.path(kSecond), "tensor    a", "it in " + folder.path(kFirst) + " too"}));
}

TEST(Checkpoint, ADamagedShardIsNamed) {
  const TempFolder folder;
  write_two_shards(folder);
  folder.write(kSecond, shard({"c"}) + "x");
  EXPECT_TRUE(refusal_of(folder).starts_with(folder.path(kSecond) + "\n"));
}

TEST(ShardIndex, ReadsTensorsAndFiles) {
  const auto files = parse_shard_index(R"({"metadata":{"total_size":1.5e9,"x":"y","z":null,"t":true,"n":-1},)"
                                       R"("weight_map":{"a":"A_1.x-y.safetensors","b":"b.safetensors"}})",
                                       "index");
  EXPECT_EQ(files,
            (std::map<std::string, std::string>{{"a", "A_1.x-y.safetensors"}, {"b", "b.safetensors"}}));
  EXPECT_TRUE(parse_shard_index(R"({"weight_map":{}})", "index").empty());
}

TEST(ShardIndex, RefusesOtherSchemas) {
  const std::array<std::pair<std::string, const char*>, 17> cases = {{
      {"", "JSON"},
      {"[]", "an object with metadata and weight_map"},
      {"{}", "expected  weight_map"},
      {R"({"metadata":{}})", "expected  weight_map"},
      {R"({"weight_map":[]})", "weight_map as an object"},
      {R"({"weight_map":null})", "weight_map as an object"},
      {R"({"weight_map":{"a":1}})", "tensor    a\n  expected  the name of a file"},
      {R"({"weight_map":{"a":["b.safetensors"]}})", "found     an array"},
      {R"({"weight_map":{"a":{}}})", "found     an object"},
      {R"({"weight_map":{"a":"b.safetensors","a":"b.safetensors"}})", "found     it twice"},
      {R"({"weight_map":{},"weight_map":{}})", "weight_map twice"},
      {R"({"metadata":{},"metadata":{},"weight_map":{}})", "metadata twice"},
      {R"({"metadata":{"x":{}},"weight_map":{}})", "in metadata only"},
      {R"({"metadata":{"x":[]},"weight_map":{}})", "in metadata only"},
      {R"({"metadata":1,"weight_map":{}})", "metadata as an object"},
      {R"({"weights":{}})", "found     \"weights\""},
      {std::string("{\"weight_map\":{}}\0x", 18), "NUL"},
  }};
  for (const auto& refusal : cases) {
    const std::string message =
        error_of(ErrorKind::kCheckpoint, [&] { parse_shard_index(refusal.first, "the index"); });
    EXPECT_TRUE(message.starts_with("the index\n")) << message;
    EXPECT_TRUE(contains(message, refusal.second)) << refusal.first;
  }
}

TEST(ShardIndex, MayNameOnlyFilesOfItsFolder) {
  for (const char* name : {"../b.safetensors", "/b.safetensors", "x/b.safetensors", "x\\\\b.safetensors",
                           "pytorch_model-00001.bin", "", ".safetensors", "b.safetensors ",
                           "b.safetensors\\u0000", "\\u00e9.safetensors"}) {
    const std::string text = fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", name);
    EXPECT_TRUE(contains(error_of(ErrorKind::kCheckpoint, [&] { parse_shard_index(text, "index"); }),
                         "the name of a file in the same folder"))
        << name;
  }
}

}  // namespace
}  // namespace hadal::io
