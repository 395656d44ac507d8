#include "hadal/core/mmap_file.h"

#include <csignal>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hadal/core/test_files.h"

namespace hadal {
namespace {

std::string text_of(const MmapFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MmapFile, ShowsTheBytes) {
  const TempFolder folder;
  const std::string content = "some bytes" + std::string(10'000, 'x');
  const MmapFile file(folder.write("f", content));
  EXPECT_EQ(text_of(file), content);
  EXPECT_EQ(file.path(), folder.path("f"));
}

TEST(MmapFile, AnEmptyFileIsAnEmptySpan) {
  const TempFolder folder;
  EXPECT_TRUE(MmapFile(folder.write("empty", "")).bytes().empty());
  EXPECT_TRUE(MmapFile().bytes().empty());
}

TEST(MmapFile, OutlivesTheName) {
  const TempFolder folder;
  const std::string path = folder.write("f", "abc");
  const MmapFile file(path);
  ASSERT_EQ(unlink(path.c_str()), 0);
  EXPECT_EQ(text_of(file), "abc");
}

TEST(MmapFile, Moves) {
  const TempFolder folder;
  MmapFile a(folder.write("a", "aaa")), b(folder.write("b", "bb"));
  MmapFile c(std::move(a));
  EXPECT_EQ(text_of(c), "aaa");
  EXPECT_TRUE(a.bytes().empty());  // NOLINT(bugprone-use-after-move): what is promised of it
  c = std::move(b);
  EXPECT_EQ(text_of(c), "bb");
  EXPECT_EQ(c.path(), folder.path("b"));
}

TEST(MmapFile, ReadsIntoOtherMemory) {
  const TempFolder folder;
  const MmapFile file(folder.write("f", "0123456789"));
  std::vector<std::byte> bytes(4);
  file.read(3, bytes);
  EXPECT_EQ(static_cast<char>(bytes[0]), '3');
  EXPECT_EQ(static_cast<char>(bytes[3]), '6');
  EXPECT_TRUE(contains(error_of(ErrorKind::kIo, [&] { file.read(8, bytes); }),
                       {file.path(), "at byte 10", "shorter"}));
}

TEST(MmapFile, RefusesWhatIsNoRegularFile) {
  const TempFolder folder;
  const auto refusal = [](const std::string& path) {
    return error_of(ErrorKind::kIo, [&] { MmapFile file(path); });
  };
  EXPECT_TRUE(contains(refusal(folder.path("absent")), {folder.path("absent"), "No such file"}));
  EXPECT_TRUE(contains(refusal(folder.path()), {folder.path(), "a regular file"}));
  EXPECT_TRUE(contains(refusal("/dev/zero"), {"/dev/zero", "a regular file"}));
  ASSERT_EQ(mkfifo(folder.path("pipe").c_str(), 0600), 0);
  EXPECT_TRUE(contains(refusal(folder.path("pipe")), "a regular file"));  // and does not wait for a writer
}

char first_byte(const MmapFile& file) {
  return *reinterpret_cast<const volatile char*>(file.bytes().data());
}

TEST(MmapFaultHandler, NamesTheFileThatWasTruncated) {
  const TempFolder folder;
  const MmapFile other(folder.write("other", "x"));
  const MmapFile file(folder.write("model.safetensors", "abc"));
  EXPECT_EXIT(
      {
        install_mmap_fault_handler();
        if (truncate(file.path().c_str(), 0) != 0) _exit(2);
        _exit(first_byte(file));
      },
      testing::ExitedWithCode(1), "model.safetensors\n  cannot be read any more");
}

TEST(MmapFaultHandler, KnowsAMovedMapping) {
  const TempFolder folder;
  MmapFile file(folder.write("first", "abc"));
  const MmapFile moved(std::move(file));
  EXPECT_EXIT(
      {
        install_mmap_fault_handler();
        if (truncate(moved.path().c_str(), 0) != 0) _exit(2);
        _exit(first_byte(moved));
      },
      testing::ExitedWithCode(1), "first\n  cannot be read any more");
}

TEST(MmapFaultHandler, LeavesOtherFaultsAlone) {
  EXPECT_EXIT(
      {
        install_mmap_fault_handler();
        std::raise(SIGBUS);
        _exit(0);
      },
      testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace hadal
