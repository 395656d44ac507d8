#include "hadal/io/model_folder.h"

#include <array>
#include <cstdlib>
#include <optional>

#include <gtest/gtest.h>
#include <unistd.h>

#include "hadal/io/test_files.h"

namespace hadal::io {
namespace {

constexpr std::array kVariables = {"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"};
constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

// The variables that lead to the cache are this test's alone: none is set but those that it sets.
class ModelFolder : public testing::Test {
 protected:
  ModelFolder() {
    for (size_t i = 0; i < kVariables.size(); ++i) {
      if (const char* value = std::getenv(kVariables[i])) saved_[i] = value;
      unsetenv(kVariables[i]);
    }
  }
  ~ModelFolder() override {
    for (size_t i = 0; i < kVariables.size(); ++i) {
      unsetenv(kVariables[i]);
      if (saved_[i]) setenv(kVariables[i], saved_[i]->c_str(), 1);
    }
  }

  // A cached repository below `hub`; returns its snapshot.
  std::string add_repository(const std::string& hub) const {
    const std::string repository = hub + "/models--org--name";
    folder_.write(repository + "/refs/main", kCommit);
    folder_.write(repository + "/snapshots/" + kCommit + "/config.json", "{}");
    return folder_.path(repository + "/snapshots/" + kCommit);
  }

  TempFolder folder_;

 private:
  std::array<std::optional<std::string>, kVariables.size()> saved_;
};

TEST_F(ModelFolder, IsTheFolderItself) {
  EXPECT_EQ(find_model_folder(folder_.path()), folder_.path());
  EXPECT_EQ(find_model_folder("."), ".");
}

TEST_F(ModelFolder, IsFoundThroughEachVariable) {
  const std::string in_hub_cache = add_repository("a"), in_home = add_repository("b/hub");
  const std::string in_xdg = add_repository("c/huggingface/hub"),
                    in_user = add_repository("d/.cache/huggingface/hub");
  setenv("HOME", folder_.path("d").c_str(), 1);
  EXPECT_EQ(find_model_folder("org/name"), in_user);
  setenv("XDG_CACHE_HOME", folder_.path("c").c_str(), 1);
  EXPECT_EQ(find_model_folder("org/name"), in_xdg);
  setenv("HF_HOME", folder_.path("b").c_str(), 1);
  EXPECT_EQ(find_model_folder("org/name"), in_home);
  setenv("HF_HUB_CACHE", folder_.path("a").c_str(), 1);
  EXPECT_EQ(find_model_folder("org/name"), in_hub_cache);
  setenv("HF_HUB_CACHE", "", 1);  // as good as unset
  EXPECT_EQ(find_model_folder("org/name"), in_home);
}

TEST_F(ModelFolder, FollowsRefsMain) {
  setenv("HF_HUB_CACHE", folder_.path().c_str(), 1);
  const std::string snapshot = add_repository(".");
  folder_.write("models--org--name/snapshots/ffff/config.json", "{}");
  EXPECT_EQ(std::filesystem::path(find_model_folder("org/name")).filename(), kCommit);
  folder_.write("models--org--name/refs/main", "ffff\n");
  EXPECT_EQ(std::filesystem::path(find_model_folder("org/name")).filename(), "ffff");
}

TEST_F(ModelFolder, AbsentModelNamesTheDownloadCommand) {
  setenv("HF_HUB_CACHE", folder_.path().c_str(), 1);
  const auto message = [] { return error_of(ErrorKind::kIo, [] { find_model_folder("org/name"); }); };
  EXPECT_TRUE(contains(message(), "hf download org/name"));
  EXPECT_TRUE(contains(message(), folder_.path()));
  folder_.write("models--org--name/refs/main", kCommit);  // a download that stopped before its first file
  EXPECT_TRUE(contains(message(), "hf download org/name"));
}

TEST_F(ModelFolder, PathsAreNotTakenForRepositories) {
  setenv("HF_HUB_CACHE", folder_.path().c_str(), 1);
  for (const char* model : {"", "name", "/absent/folder", "./org/name", "../name", "org/..", "org/name/more",
                            "org/", "/name", "org/na me", "org/na\nme"}) {
    const std::string message = error_of(ErrorKind::kIo, [&] { find_model_folder(model); });
    EXPECT_TRUE(contains(message, "no such folder")) << model;
  }
}

TEST_F(ModelFolder, RefMayNotLeadOutOfTheCache) {
  setenv("HF_HUB_CACHE", folder_.path().c_str(), 1);
  for (const char* ref : {"../../../..", "", "a/b", "/", "\x1b[2J"}) {
    folder_.write("models--org--name/refs/main", ref);
    EXPECT_TRUE(contains(error_of(ErrorKind::kIo, [] { find_model_folder("org/name"); }), "hash of a commit"))
        << ref;
  }
  folder_.write("models--org--name/refs/main", std::string(1000, 'a'));
  EXPECT_TRUE(contains(error_of(ErrorKind::kIo, [] { find_model_folder("org/name"); }), "at most 256 bytes"));
}

TEST_F(ModelFolder, AFileIsNoFolder) {
  const std::string file = folder_.write("model.safetensors", "");
  EXPECT_TRUE(contains(error_of(ErrorKind::kIo, [&] { find_model_folder(file); }), "expected  a folder"));
}

TEST_F(ModelFolder, AFolderThatMayNotBeReadIsAnIoError) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  folder_.write("closed/config.json", "{}");
  std::filesystem::permissions(folder_.path("closed"), std::filesystem::perms::none);
  EXPECT_TRUE(contains(error_of(ErrorKind::kIo, [&] { find_model_folder(folder_.path("closed")); }),
                       "cannot be read: Permission denied"));
  std::filesystem::permissions(folder_.path("closed"), std::filesystem::perms::owner_all);
}

TEST_F(ModelFolder, AnUnreadablePathIsAnIoError) {
  const std::string too_long(5000, 'x');
  EXPECT_TRUE(contains(error_of(ErrorKind::kIo, [&] { find_model_folder(too_long); }), "cannot be read"));
}

}  // namespace
}  // namespace hadal::io
