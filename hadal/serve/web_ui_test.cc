#include "hadal/serve/web_ui.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace hadal::serve {
namespace {

// The values of attributes src and href.
std::set<std::string> references(std::string_view html) {
  std::set<std::string> found;
  for (const std::string_view attribute : {" src=\"", " href=\""}) {
    for (size_t at = html.find(attribute); at != html.npos; at = html.find(attribute, at + 1)) {
      const size_t from = at + attribute.size();
      found.emplace(html.substr(from, html.find('"', from) - from));
    }
  }
  return found;
}

TEST(WebUi, PagesAreHtmlWithoutInlineScriptOrStyle) {
  for (const char* path : {"/", "/platform", "/status"}) {
    const WebFile* page = find_web_file(path);
    ASSERT_NE(page, nullptr) << path;
    EXPECT_EQ(page->content_type, "text/html; charset=utf-8");
    EXPECT_FALSE(page->gzip);
    EXPECT_FALSE(page->immutable) << "its path stays when its content changes";
    EXPECT_TRUE(page->bytes.starts_with("<!doctype html>"));
    EXPECT_EQ(page->bytes.find("<style"), page->bytes.npos);
    EXPECT_EQ(page->bytes.find("<script>"), page->bytes.npos);
    EXPECT_EQ(page->bytes.find(" style="), page->bytes.npos);
  }
}

TEST(WebUi, PagesReferToNothingElsewhere) {
  for (const char* path : {"/", "/platform", "/status"}) {
    const auto all = references(find_web_file(path)->bytes);
    EXPECT_GE(all.size(), 4u) << path;
    for (const std::string& reference : all)
      EXPECT_NE(find_web_file(reference), nullptr) << path << ": " << reference;
  }
}

TEST(WebUi, FilesHaveTypesTagsAndWholeBytes) {
  std::set<std::string_view> paths, tags;
  for (const WebFile& file : web_files()) {
    EXPECT_TRUE(paths.insert(file.path).second) << file.path;
    EXPECT_TRUE(tags.insert(file.etag).second) << file.path;
    EXPECT_EQ(find_web_file(file.path), &file);
    EXPECT_TRUE(file.etag.size() > 2 && file.etag.starts_with('"') && file.etag.ends_with('"')) << file.path;
    EXPECT_NE(file.content_type.find('/'), file.content_type.npos) << file.path;
    ASSERT_GT(file.bytes.size(), 18u) << file.path;
    // RFC 1952: magic, method deflate.
    EXPECT_EQ(file.gzip, file.bytes.starts_with("\x1f\x8b\x08")) << file.path;
  }
}

TEST(WebUi, WhatIsNotThereIsNotFound) {
  for (const char* path :
       {"", "/index.html", "/assets", "/assets/", "//", "/../etc/passwd", "/status/", "/Platform"})
    EXPECT_EQ(find_web_file(path), nullptr) << path;
  EXPECT_NE(find_web_file("/assets/licenses.txt"), nullptr);
}

TEST(WebUi, PolicyAllowsNothingInline) {
  EXPECT_EQ(kContentSecurityPolicy.find("unsafe"), kContentSecurityPolicy.npos);
  EXPECT_TRUE(kContentSecurityPolicy.starts_with("default-src 'none';"));
}

}  // namespace
}  // namespace hadal::serve
