#pragma once

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "hadal/core/json.h"

namespace hadal::text {

inline constexpr const char* kTinyChat = "models/tiny-chat";
inline constexpr const char* kCases = "tests/data/text/";  // made by tools/golden/make_text_cases.py

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// Calls `test` with each line's object.
inline void for_each_case(const std::string& path, const std::function<void(const json&)>& test) {
  const std::string lines = read_text_file(path, int64_t{64} << 20, ErrorKind::kIo);
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());
    if (end > begin)
      test(parse_json(std::string_view(lines).substr(begin, end - begin), path, ErrorKind::kIo));
    begin = end + 1;
  }
}

inline constexpr const char* kSpecialTokens =
    R"({"bos_token":"<｜begin▁of▁sentence｜>","eos_token":{"content":"<｜end▁of▁sentence｜>"},"pad_token":"<｜end▁of▁sentence｜>","unk_token":null)";

/// A folder with a template and a tokenizer_config.json, gone at the end of the test.
class TemplateFolder {
 public:
  explicit TemplateFolder(const std::string& source,
                          const std::string& config = std::string(kSpecialTokens) + "}") {
    path_ = std::filesystem::temp_directory_path() /
            ("hadal_template_" + std::to_string(std::chrono::steady_clock::now().time_since_epoch().count()));
    std::filesystem::create_directories(path_);
    if (!source.empty()) std::ofstream(path_ / "chat_template.jinja", std::ios::binary) << source;
    std::ofstream(path_ / "tokenizer_config.json") << config;
  }
  ~TemplateFolder() { std::filesystem::remove_all(path_); }
  TemplateFolder(const TemplateFolder&) = delete;
  TemplateFolder& operator=(const TemplateFolder&) = delete;
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace hadal::text
