#include "hadal/core/machine.h"

#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

namespace hadal {
namespace {

// Linux's own list of what the processor has and the kernel supports.
std::set<std::string> kernel_flags() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    std::set<std::string> flags;
    for (std::string word; words >> word;) flags.insert(word);
    return flags;
  }
  return {};
}

TEST(CpuFeatures, AgreeWithLinux) {
  const std::set<std::string> flags = kernel_flags();
  if (flags.empty()) GTEST_SKIP() << "/proc/cpuinfo has no flags here";
  const CpuFeatures& found = cpu_features();
  EXPECT_EQ(found.avx2, flags.contains("avx2"));
  EXPECT_EQ(found.fma, flags.contains("fma"));
  EXPECT_EQ(found.f16c, flags.contains("f16c"));
  EXPECT_EQ(found.avx_vnni, flags.contains("avx_vnni"));
  EXPECT_EQ(found.avx512, flags.contains("avx512f") && flags.contains("avx512bw") &&
                              flags.contains("avx512vl") && flags.contains("avx512dq") &&
                              flags.contains("avx512cd"));
  EXPECT_EQ(found.avx512_vnni, flags.contains("avx512_vnni"));
  EXPECT_EQ(found.avx512_bf16, flags.contains("avx512_bf16"));
  EXPECT_EQ(found.avx512_vbmi, flags.contains("avx512vbmi"));
  EXPECT_EQ(found.avx512_fp16, flags.contains("avx512_fp16"));
  // Linux may have the tiles and still refuse them to a process.
  EXPECT_EQ(found.amx_tile || found.amx_refused, flags.contains("amx_tile"));
  EXPECT_EQ(found.amx_int8, found.amx_tile && flags.contains("amx_int8"));
  EXPECT_EQ(found.amx_bf16, found.amx_tile && flags.contains("amx_bf16"));
}

TEST(CpuName, HasNoSpacesAround) {
  const std::string name = cpu_name();
  EXPECT_EQ(name.find_first_not_of(' '), name.empty() ? std::string::npos : 0);
  EXPECT_TRUE(name.empty() || name.back() != ' ');
}

}  // namespace
}  // namespace hadal
