#pragma once

#include <span>
#include <string_view>

namespace hadal::serve {

/// The Content-Security-Policy that the pages are written for: nothing from elsewhere, no script or style in the HTML.
/// web/tools/dev.mjs reads it from here.
inline constexpr std::string_view kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the website in web/, which the build bundles and puts into the binary.
struct WebFile {
  std::string_view path;          // as requested: "/", "/status", "/assets/chat-27HPVFNM.css"
  std::string_view content_type;  // with charset
  std::string_view etag;          // with its quotes
  std::string_view bytes;         // what to send; gzip: with Content-Encoding: gzip
  bool gzip;
  bool immutable;  // the path changes with the content: may be cached for ever
};

/// All of them. Defined in the source that web/tools/build.mjs generates.
std::span<const WebFile> web_files();

/// The file at `path`, without its query; null if the website has none there. It lives as long as the process.
const WebFile* find_web_file(std::string_view path);

}  // namespace hadal::serve
