// The website: pages and their files, from the binary itself.
#include <fmt/format.h>

#include "hadal/serve/routes.h"
#include "hadal/serve/web_ui.h"

namespace hadal::serve {

asio::awaitable<void> web_page(Exchange& http, Service& /*service*/) {
  const WebFile* file = find_web_file(http.request().path);
  if (!file) throw ApiError(404, fmt::format("There is no {} here.", http.request().path));
  http.add_field("Content-Security-Policy", std::string(kContentSecurityPolicy));
  http.add_field("X-Content-Type-Options", "nosniff");
  http.add_field("Referrer-Policy", "no-referrer");
  http.add_field("ETag", std::string(file->etag));
  http.add_field("Cache-Control", file->immutable ? "public, max-age=31536000, immutable" : "no-cache");
  if (http.request().field("if-none-match") == file->etag) {
    co_await http.send(304, "", "");
    co_return;
  }
  if (file->gzip) http.add_field("Content-Encoding", "gzip");  // every browser takes it
  co_await http.send(200, file->content_type, file->bytes);
}

}  // namespace hadal::serve
