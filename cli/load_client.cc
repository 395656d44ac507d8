#include "cli/load_client.h"

#include <chrono>
#include <cmath>
#include <random>
#include <string_view>
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/version.hpp>

#include "hadal/core/error.h"

namespace hadal::cli {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using serve::LoadSample;

constexpr uint64_t kMaxAnswerBytes = uint64_t{256} << 20;

// Boost's what() says where in its sources it happened as well.
std::string load_error(const std::exception& error) {
  const auto* system = dynamic_cast<const boost::system::system_error*>(&error);
  return system ? system->code().message() : error.what();
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

http::request<http::string_body> make_request(const LoadTarget& target, http::verb verb,
                                              const std::string& path, std::string body) {
  http::request<http::string_body> request(verb, target.prefix + path, 11);
  request.set(http::field::host, target.host + ":" + target.port);
  request.set(http::field::connection, "close");
  if (!target.api_key.empty()) request.set(http::field::authorization, "Bearer " + target.api_key);
  if (verb == http::verb::post) request.set(http::field::content_type, "application/json");
  request.body() = std::move(body);
  request.prepare_payload();
  return request;
}

/// A stream of server-sent events as its bytes come.
class EventReader {
 public:
  EventReader(LoadSample& sample, Clock::time_point start) : sample_(sample), start_(start) {}

  /// Throws what read_piece throws.
  void put(std::string_view bytes) {
    rest_ += bytes;
    size_t begin = 0;
    for (size_t end = 0; (end = rest_.find('\n', begin)) != std::string::npos; begin = end + 1)
      line(std::string_view(rest_).substr(begin, end - begin));
    rest_.erase(0, begin);
  }
  /// The answer is there. Servers that do not count tokens sent one a piece, most likely.
  void finish() {
    if (sample_.output_tokens < 0) sample_.output_tokens = pieces_;
    if (sample_.first_token_s == 0.0) sample_.first_token_s = sample_.total_s;
  }

 private:
  void line(std::string_view text) {
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (!text.starts_with("data:")) return;  // comments, names
    text.remove_prefix(text.starts_with("data: ") ? 6 : 5);
    if (text == "[DONE]") return;
    const serve::LoadPiece piece = serve::read_piece(text);
    if (piece.input_tokens >= 0) sample_.input_tokens = piece.input_tokens;
    if (piece.output_tokens >= 0) sample_.output_tokens = piece.output_tokens;
    if (!piece.has_text) return;
    const double now = seconds_since(start_);
    if (pieces_++ == 0) {
      sample_.first_token_s = now;
    } else {
      sample_.gaps_s.push_back(now - last_s_);
    }
    last_s_ = now;
  }

  LoadSample& sample_;
  Clock::time_point start_;
  std::string rest_;
  int64_t pieces_ = 0;
  double last_s_ = 0.0;
};

// All of the answer by and by, each part to `take`. The status.
template <class Take>
asio::awaitable<int> exchange(tcp::socket& socket, const tcp::resolver::results_type& addresses,
                              const http::request<http::string_body>& request, Take& take) {
  co_await asio::async_connect(socket, addresses, asio::use_awaitable);
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  co_await http::async_write(socket, request, asio::use_awaitable);
  boost::beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(kMaxAnswerBytes);
  co_await http::async_read_header(socket, buffer, parser, asio::use_awaitable);
  const auto status = static_cast<int>(parser.get().result_int());
  while (!parser.is_done()) {
    co_await http::async_read_some(socket, buffer, parser, asio::use_awaitable);
    take(status, std::exchange(parser.get().body(), {}));
  }
  take(status, std::exchange(parser.get().body(), {}));
  co_return status;
}

class Load {
 public:
  Load(const LoadTarget& target, const LoadShape& shape, const std::vector<std::string>& bodies)
      : target_(target), shape_(shape), bodies_(bodies), samples_(bodies.size()), slot_(io_), pause_(io_) {}

  LoadResult run() {
    tcp::resolver resolver(io_);
    addresses_ = resolver.resolve(target_.host, target_.port);
    const auto start = Clock::now();
    asio::co_spawn(io_, send_all(), asio::detached);
    io_.run();
    return {std::move(samples_), seconds_since(start)};
  }

 private:
  asio::awaitable<void> send_all() {
    std::mt19937_64 random(shape_.seed);
    std::exponential_distribution<double> gap(std::isinf(shape_.request_rate) ? 1.0 : shape_.request_rate);
    auto due = Clock::now();
    for (size_t i = 0; i < bodies_.size(); ++i) {
      error_code ignored;
      auto token = asio::redirect_error(asio::use_awaitable, ignored);
      if (!std::isinf(shape_.request_rate)) {
        if (i > 0)
          due += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(gap(random)));
        pause_.expires_at(due);
        co_await pause_.async_wait(token);
      }
      while (shape_.max_concurrency > 0 && active_ >= shape_.max_concurrency) {
        slot_.expires_at(Clock::time_point::max());
        co_await slot_.async_wait(token);
      }
      ++active_;
      asio::co_spawn(io_, send(i), asio::detached);
    }
  }

  asio::awaitable<void> send(size_t number) {
    LoadSample& sample = samples_[number];
    sample.output_tokens = -1;
    const auto start = Clock::now();
    EventReader reader(sample, start);
    std::string refusal;
    auto take = [&](int status, const std::string& part) {
      if (status == 200) {
        reader.put(part);
      } else {
        refusal += part;
      }
    };
    try {
      tcp::socket socket(io_);
      const auto request = make_request(target_, http::verb::post, target_.endpoint, bodies_[number]);
      const int status = co_await exchange(socket, addresses_, request, take);
      sample.total_s = seconds_since(start);
      reader.finish();
      sample.ok = status == 200;
      if (!sample.ok) sample.error = fmt::format("status {}: {}", status, refusal);
    } catch (const std::exception& e) {
      sample.error = load_error(e);
    }
    --active_;
    slot_.cancel();
  }

  const LoadTarget& target_;
  const LoadShape& shape_;
  const std::vector<std::string>& bodies_;
  std::vector<LoadSample> samples_;
  asio::io_context io_{1};
  asio::steady_timer slot_, pause_;
  tcp::resolver::results_type addresses_;
  int64_t active_ = 0;
};

asio::awaitable<void> get_into(const LoadTarget& target, const std::string& path, tcp::socket& socket,
                               const tcp::resolver::results_type& addresses, std::string& body, int& status) {
  const auto request = make_request(target, http::verb::get, path, "");
  auto take = [&](int, const std::string& part) { body += part; };
  status = co_await exchange(socket, addresses, request, take);
}

}  // namespace

LoadTarget parse_base_url(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  LoadTarget target;
  std::string_view rest = url;
  if (rest.starts_with(kScheme)) rest.remove_prefix(kScheme.size());
  const size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view place = rest.substr(0, slash), path = rest.substr(slash);
  while (path.ends_with('/')) path.remove_suffix(1);
  target.prefix = path;
  const size_t colon = place.rfind(':');
  const bool has_port = colon != std::string_view::npos && place.find(']', colon) == std::string_view::npos;
  target.host = place.substr(0, has_port ? colon : place.size());
  target.port = has_port ? std::string(place.substr(colon + 1)) : "80";
  const bool number =
      !target.port.empty() && target.port.find_first_not_of("0123456789") == std::string::npos;
  if (target.host.size() > 2 && target.host.starts_with('[') && target.host.ends_with(']'))
    target.host = target.host.substr(1, target.host.size() - 2);
  if (!url.starts_with(kScheme) || target.host.empty() || !number)
    fail(ErrorKind::kUsage, "--base-url\n  expected  http://HOST:PORT\n  found     {}", url);
  return target;
}

std::string get(const LoadTarget& target, const std::string& path) {
  asio::io_context io(1);
  std::string body;
  int status = 0;
  std::exception_ptr failure;
  try {
    tcp::socket socket(io);
    const auto addresses = tcp::resolver(io).resolve(target.host, target.port);
    asio::co_spawn(io, get_into(target, path, socket, addresses, body, status),
                   [&](std::exception_ptr e) { failure = std::move(e); });
    io.run();
    if (failure) std::rethrow_exception(failure);
  } catch (const std::exception& e) {
    fail(ErrorKind::kIo, "http://{}:{}{}{}\n  cannot be read: {}", target.host, target.port, target.prefix,
         path, load_error(e));
  }
  if (status == 200) return body;
  fail(ErrorKind::kIo, "http://{}:{}{}{}\n  expected  status 200\n  found     {}: {}", target.host,
       target.port, target.prefix, path, status, body);
}

LoadResult run_load(const LoadTarget& target, const LoadShape& shape,
                    const std::vector<std::string>& bodies) {
  try {
    return Load(target, shape, bodies).run();
  } catch (const boost::system::system_error& e) {  // a name that has no address
    fail(ErrorKind::kIo, "{}:{}\n  cannot be reached: {}", target.host, target.port, e.code().message());
  }
}

}  // namespace hadal::cli
