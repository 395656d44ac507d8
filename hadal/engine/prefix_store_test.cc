#include "hadal/engine/prefix_store.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"
#include "hadal/core/test_random.h"

namespace hadal::engine {
namespace {

namespace fs = std::filesystem;

model::ModelConfig config() {
  model::ModelConfig c;
  c.num_hidden_layers = 3;
  c.kv_lora_rank = 32;
  c.qk_rope_head_dim = 16;
  return c;
}

constexpr int64_t kPages = 6, kPageSize = 4, kRow = 48 * 2, kFile = 128 + 3 * kPageSize * kRow;

class PrefixStoreTest : public testing::Test {
 protected:
  PrefixStoreTest()
      : folder_(testing::TempDir() + "prefix_store_" + std::to_string(getpid())),
        cache_(config(), kPages, kPageSize, Format::kBF16) {
    fs::remove_all(folder_);
    TestRandom random(5);
    for (int32_t page = 0; page < kPages; ++page) {
      for (const ops::LayerCache& layer : cache_.layers()) {
        for (int64_t i = 0; i < kPageSize * kRow; ++i)
          layer.token(page * kPageSize)[i] = static_cast<std::byte>(random.below(256));
      }
    }
  }
  ~PrefixStoreTest() override { fs::remove_all(folder_); }

  std::string page(int32_t page) const {
    std::string bytes;
    for (const ops::LayerCache& layer : cache_.layers())
      bytes.append(reinterpret_cast<const char*>(layer.token(page * kPageSize)), kPageSize * kRow);
    return bytes;
  }
  std::string name(const std::string& before, int32_t first) const {
    const std::vector<int32_t> tokens{first, 2, 3, 4};
    return PrefixStore(folder_, 1, "model", cache_).name_of(before, "", tokens);
  }

  const std::string folder_;
  KvCache cache_;
};

TEST_F(PrefixStoreTest, PagesComeBackInAnotherProcessWithTheirBits) {
  const std::string a = name("", 1), b = name(a, 1);
  {
    PrefixStore store(folder_, 1 << 20, "model", cache_);
    EXPECT_FALSE(store.read(a, 3));
    store.write(a, 0);
    store.write(b, 1);
  }
  PrefixStore store(folder_, 1 << 20, "model", cache_);
  EXPECT_EQ(store.bytes(), 2 * kFile);
  const std::string untouched = page(5);
  ASSERT_TRUE(store.read(b, 3));
  ASSERT_TRUE(store.read(a, 4));
  EXPECT_EQ(page(3), page(1));
  EXPECT_EQ(page(4), page(0));
  EXPECT_EQ(page(5), untouched);
}

TEST_F(PrefixStoreTest, ANameSaysAllThatAPageDependsOn) {
  const PrefixStore store(folder_, 1, "model", cache_), other(folder_, 1, "another model", cache_);
  const std::vector<int32_t> tokens{1, 2, 3, 4}, others{1, 2, 3, 5};
  const std::string name = store.name_of("", "", tokens);
  EXPECT_EQ(name.size(), 64U);
  EXPECT_EQ(store.name_of("", "", tokens), name);
  EXPECT_NE(other.name_of("", "", tokens), name);
  EXPECT_NE(store.name_of("", "salt", tokens), name);
  EXPECT_NE(store.name_of("", "", others), name);
  EXPECT_NE(store.name_of(name, "", tokens), name);
}

TEST_F(PrefixStoreTest, WhatIsDamagedIsComputedAgain) {
  const std::string a = name("", 1);
  for (const int64_t at : {int64_t{0}, int64_t{70}, int64_t{128}, kFile - 1, int64_t{-1}, int64_t{-2}}) {
    SCOPED_TRACE(at);
    { PrefixStore(folder_, 1 << 20, "model", cache_).write(a, 0); }
    const std::string file = folder_ + "/" + a + ".kv";
    if (at >= 0) {
      std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
      stream.seekg(at);
      const char byte = static_cast<char>(stream.get());
      stream.seekp(at);
      stream.put(static_cast<char>(byte ^ 1));
    } else {
      fs::resize_file(file, static_cast<uintmax_t>(at == -1 ? kFile - 1 : kFile + 1));
    }
    const std::string before = page(3);
    PrefixStore store(folder_, 1 << 20, "model", cache_);
    EXPECT_FALSE(store.read(a, 3));
    EXPECT_EQ(page(3), before);
    EXPECT_FALSE(fs::exists(file));
    EXPECT_EQ(store.bytes(), 0);
  }
}

TEST_F(PrefixStoreTest, TheFolderStaysWithinItsSizeAndTheLeastLatelyUsedGoes) {
  std::vector<std::string> names;
  for (int32_t i = 0; i < 4; ++i) names.push_back(name("", i));
  { PrefixStore(folder_, 1 << 20, "model", cache_).write(names[0], 0); }
  { PrefixStore(folder_, 1 << 20, "model", cache_).write(names[1], 1); }
  {
    PrefixStore store(folder_, 3 * kFile, "model", cache_);
    store.write(names[2], 2);
    ASSERT_TRUE(store.read(names[0], 5));
    store.write(names[3], 3);
  }
  PrefixStore store(folder_, 3 * kFile, "model", cache_);
  EXPECT_FALSE(store.read(names[1], 5));
  for (const int i : {0, 2, 3}) EXPECT_TRUE(store.read(names[static_cast<size_t>(i)], 5)) << i;
  EXPECT_LE(store.bytes(), 3 * kFile);
}

TEST_F(PrefixStoreTest, WhatAKilledProcessWasWritingGoes) {
  fs::create_directories(folder_);
  const std::string left = folder_ + "/" + name("", 1) + ".kv.tmp-1", fresh = left + "2";
  for (const std::string& file : {left, fresh}) std::ofstream(file) << "half of a page";
  fs::last_write_time(left, fs::file_time_type::clock::now() - std::chrono::hours(2));
  const PrefixStore store(folder_, 1 << 20, "model", cache_);
  EXPECT_FALSE(fs::exists(left));
  EXPECT_TRUE(fs::exists(fresh)) << "another process may be writing it";
}

TEST_F(PrefixStoreTest, OtherFilesAreLeftAloneAndLinksAreNotFollowed) {
  fs::create_directories(folder_);
  const std::string a = name("", 1);
  std::ofstream(folder_ + "/notes.txt") << "mine";
  std::ofstream(folder_ + "/UPPER.kv") << "mine";
  fs::create_symlink("/etc/passwd", folder_ + "/" + a + ".kv");
  PrefixStore store(folder_, 0, "model", cache_);
  EXPECT_EQ(store.bytes(), 0);
  EXPECT_FALSE(store.read(a, 0));
  EXPECT_TRUE(fs::exists(folder_ + "/notes.txt") && fs::exists(folder_ + "/UPPER.kv"));
  std::ofstream(folder_ + "_file") << "";
  EXPECT_TRUE(contains(error_of(ErrorKind::kIo, [&] { PrefixStore(folder_ + "_file/x", 1, "", cache_); }),
                       "cannot be made"));
  fs::remove(folder_ + "_file");
}

}  // namespace
}  // namespace hadal::engine
