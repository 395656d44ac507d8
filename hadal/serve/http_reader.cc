#include "hadal/serve/http_reader.h"

#include <algorithm>
#include <cctype>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>

#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

namespace http = boost::beast::http;

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string_view view(boost::beast::string_view text) {
  return {text.data(), text.size()};
}

[[noreturn]] void refuse(const boost::system::error_code& error, const HttpLimits& limits) {
  if (error == http::error::header_limit)
    throw ApiError(431,
                   fmt::format("The request's header is larger than {} bytes.", limits.max_header_bytes));
  if (error == http::error::body_limit)
    throw ApiError(413, fmt::format("The request's body is larger than {} bytes.", limits.max_body_bytes));
  throw ApiError(400, fmt::format("This is no HTTP/1.1 request: {}.", error.message()));
}

}  // namespace

struct HttpReader::Parser {
  http::request_parser<http::string_body> beast;
};

HttpReader::HttpReader(HttpLimits limits) : limits_(limits) {
  static_cast<void>(take());
}

HttpReader::~HttpReader() = default;

void HttpReader::put(std::string_view bytes) {
  if (bytes.empty()) return;
  bytes_ += bytes;
  parse();
}

void HttpReader::parse() {
  while (!bytes_.empty() && state_ != State::kDone) {
    if (state_ == State::kIdle) state_ = State::kHeader;
    // A folded line goes on with the field before it in one reader and begins another in the next.
    if (state_ == State::kHeader &&
        (bytes_.find("\r\n ") != std::string::npos || bytes_.find("\r\n\t") != std::string::npos) &&
        bytes_.find("\r\n ") < bytes_.find("\r\n\r\n"))
      throw ApiError(400, "A field of the request's header goes over several lines.");
    boost::system::error_code error;
    const size_t used = parser_->beast.put(boost::asio::buffer(bytes_), error);
    bytes_.erase(0, used);
    if (error && error != http::error::need_more) refuse(error, limits_);
    if (state_ == State::kHeader && parser_->beast.is_header_done()) {
      check_header();
      state_ = State::kBody;
      const auto& fields = parser_->beast.get();
      wants_continue_ =
          lower(view(fields[http::field::expect])) == "100-continue" && !parser_->beast.is_done();
    }
    if (parser_->beast.is_done()) state_ = State::kDone;
    if (error == http::error::need_more || used == 0) break;
  }
  if (state_ == State::kHeader && std::ssize(bytes_) > limits_.max_header_bytes)
    throw ApiError(431,
                   fmt::format("The request's header is larger than {} bytes.", limits_.max_header_bytes));
}

void HttpReader::check_header() const {
  const auto& request = parser_->beast.get();
  if (std::distance(request.begin(), request.end()) > limits_.max_fields)
    throw ApiError(431, fmt::format("The request's header has more than {} fields.", limits_.max_fields));
  if (request.version() != 10 && request.version() != 11)
    throw ApiError(400, "The server speaks HTTP/1.1 and HTTP/1.0.");
  const auto coding = request[http::field::transfer_encoding];
  if (request.count(http::field::content_length) > 1 || request.count(http::field::transfer_encoding) > 1 ||
      request.count(http::field::host) > 1)
    throw ApiError(400, "A field that says where the request ends, or whose it is, comes twice.");
  if (coding.empty()) return;
  if (request.count(http::field::content_length) > 0)
    throw ApiError(400, "The request has both a Content-Length and a Transfer-Encoding.");
  if (lower(view(coding)) != "chunked" || request.version() == 10)
    throw ApiError(400, "The only Transfer-Encoding that requests may have is chunked.");
}

bool HttpReader::wants_continue() {
  return std::exchange(wants_continue_, false);
}

HttpRequest HttpReader::take() {
  HttpRequest request;
  if (parser_) {
    auto message = parser_->beast.release();
    request.method = std::string(view(message.method_string()));
    request.keep_alive = message.keep_alive();
    request.http_1_0 = message.version() == 10;
    const std::string_view target = view(message.target());
    const size_t mark = std::min(target.find('?'), target.size());
    request.path = percent_decoded(target.substr(0, mark));
    request.query = std::string(target.substr(std::min(mark + 1, target.size())));
    for (const auto& field : message)
      request.fields[lower(view(field.name_string()))] = std::string(view(field.value()));
    request.body = std::move(message.body());
  }
  parser_ = std::make_unique<Parser>();
  parser_->beast.header_limit(static_cast<uint32_t>(limits_.max_header_bytes));
  parser_->beast.body_limit(static_cast<uint64_t>(limits_.max_body_bytes));
  parser_->beast.eager(true);
  state_ = State::kIdle;
  wants_continue_ = false;
  parse();
  return request;
}

}  // namespace hadal::serve
