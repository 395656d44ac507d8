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

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
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
  begin();
}

HttpReader::~HttpReader() = default;

void HttpReader::begin() {
  parser_ = std::make_unique<Parser>();
  parser_->beast.header_limit(static_cast<uint32_t>(limits_.max_header_bytes));
  parser_->beast.body_limit(static_cast<uint64_t>(limits_.max_body_bytes));
  parser_->beast.eager(false);  // stops behind the header, before trailing fields can be among its own
  request_ = {};
  state_ = State::kIdle;
  wants_continue_ = false;
}

void HttpReader::put(std::string_view bytes) {
  bytes_ += bytes;
  parse();
}

void HttpReader::parse() {
  while (!bytes_.empty() && state_ != State::kDone) {
    if (state_ == State::kIdle) state_ = State::kHeader;
    if (state_ == State::kHeader) refuse_folded_lines();
    boost::system::error_code error;
    const size_t used = parser_->beast.put(boost::asio::buffer(bytes_), error);
    bytes_.erase(0, used);
    if (error && error != http::error::need_more) refuse(error, limits_);
    if (state_ == State::kHeader && parser_->beast.is_header_done()) {
      check_header();
      read_header();
      parser_->beast.eager(true);
      state_ = State::kBody;
    }
    if (parser_->beast.is_done()) state_ = State::kDone;
    if (error == http::error::need_more || used == 0) break;
  }
  // The parser takes a body as it comes; it waits for the end of a header, and of what there is around chunks.
  const bool header = state_ == State::kHeader;
  if ((header || state_ == State::kBody) && std::ssize(bytes_) > limits_.max_header_bytes)
    throw ApiError(431, fmt::format("The request's {} larger than {} bytes.",
                                    header ? "header is" : "chunk sizes or trailing fields are",
                                    limits_.max_header_bytes));
}

// A folded line goes on with the field before it in one reader and begins another in the next.
void HttpReader::refuse_folded_lines() const {
  const std::string_view header = std::string_view(bytes_).substr(0, bytes_.find("\r\n\r\n"));
  if (header.find("\r\n ") != std::string_view::npos || header.find("\r\n\t") != std::string_view::npos)
    throw ApiError(400, "A field of the request's header goes over several lines.");
}

void HttpReader::check_header() const {
  const auto& request = parser_->beast.get();
  if (std::distance(request.begin(), request.end()) > limits_.max_fields)
    throw ApiError(431, fmt::format("The request's header has more than {} fields.", limits_.max_fields));
  if (request.version() != 10 && request.version() != 11)
    throw ApiError(400, "The server speaks HTTP/1.1 and HTTP/1.0.");
  if (request.version() == 11 && request.count(http::field::host) == 0)
    throw ApiError(400, "The request does not say by its Host whom it is for.");
  const auto coding = request[http::field::transfer_encoding];
  const size_t num_lengths = request.count(http::field::content_length);
  if (num_lengths > 1 || request.count(http::field::transfer_encoding) > 1 ||
      request.count(http::field::host) > 1)
    throw ApiError(400, "A field that says where the request ends, or whose it is, comes twice.");
  if (num_lengths > 0 && !is_number(view(request[http::field::content_length])))
    throw ApiError(400, "The request's Content-Length is no number.");
  if (coding.empty()) return;
  if (num_lengths > 0) throw ApiError(400, "The request has both a Content-Length and a Transfer-Encoding.");
  if (lower(view(coding)) != "chunked" || request.version() == 10)
    throw ApiError(400, "The only Transfer-Encoding that requests may have is chunked.");
}

void HttpReader::read_header() {
  const auto& message = parser_->beast.get();
  request_.method = std::string(view(message.method_string()));
  request_.keep_alive = message.keep_alive();
  request_.http_1_0 = message.version() == 10;
  const std::string_view target = view(message.target());
  const size_t mark = std::min(target.find('?'), target.size());
  request_.path = percent_decoded(target.substr(0, mark));
  request_.query = std::string(target.substr(std::min(mark + 1, target.size())));
  for (const auto& field : message)
    request_.fields[lower(view(field.name_string()))] = std::string(view(field.value()));
  // No path here has any; in a log they would be lines of their own.
  if (std::ranges::any_of(request_.path, [](unsigned char c) { return c < 0x20 || c == 0x7F; }))
    throw ApiError(400, "The request's path has control characters.");
  wants_continue_ = lower(request_.field("expect")) == "100-continue" && !parser_->beast.is_done();
}

bool HttpReader::wants_continue() {
  return std::exchange(wants_continue_, false);
}

HttpRequest HttpReader::take() {
  HttpRequest request = std::move(request_);
  request.body = std::move(parser_->beast.get().body());
  begin();
  return request;
}

}  // namespace hadal::serve
