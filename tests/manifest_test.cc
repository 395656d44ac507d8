#include <filesystem>
#include <set>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/core/json.h"
#include "hadal/core/mmap_file.h"
#include "hadal/io/sha256.h"

// Every file of tests/golden/<case>/ is the one that its MANIFEST.json names: a golden that was edited by hand, or
// selected anew without its manifest, proves nothing. Remake with tools/golden/select.py.

namespace hadal {
namespace {

namespace fs = std::filesystem;

TEST(Manifest, NamesEveryFileWithItsHash) {
  int cases = 0;
  for (const auto& folder : fs::directory_iterator("tests/golden")) {
    if (!folder.is_directory()) continue;
    SCOPED_TRACE(folder.path().string());
    ++cases;
    const json manifest = read_json_file(folder.path() / "MANIFEST.json", 1 << 20, ErrorKind::kIo);
    const json& hashes = manifest.at("sha256");
    std::set<std::string> present;
    for (const auto& file : fs::directory_iterator(folder.path())) {
      const std::string name = file.path().filename();
      if (name == "MANIFEST.json") continue;
      present.insert(name);
      ASSERT_TRUE(hashes.contains(name)) << name << " is not in the manifest";
      EXPECT_EQ(io::sha256_hex(MmapFile(file.path()).bytes()), hashes.at(name).get<std::string>()) << name;
    }
    for (const auto& item : hashes.items())
      EXPECT_TRUE(present.contains(item.key())) << item.key() << " is gone";
  }
  EXPECT_GE(cases, 4);
}

}  // namespace
}  // namespace hadal
