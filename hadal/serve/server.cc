#include "hadal/serve/server.h"

#include <chrono>
#include <csignal>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hadal/core/log.h"
#include "hadal/serve/session.h"

namespace hadal::serve {
namespace {

using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol>;
using boost::system::error_code;

constexpr size_t kMaxConnections = 8192;

using SteadyTime = std::chrono::steady_clock::time_point;

// What may happen a thousand times a second is said once a minute.
bool is_due(SteadyTime& next_warning) {
  const SteadyTime now = std::chrono::steady_clock::now();
  if (now < next_warning) return false;
  next_warning = now + std::chrono::minutes(1);
  return true;
}

bool is_loopback(const ServeOptions& options) {
  error_code error;
  const auto address = asio::ip::make_address(options.host, error);
  return options.host == "localhost" || (!error && address.is_loopback());
}

void check_options(const ServeOptions& options) {
  if (options.ssl_certfile.empty() != options.ssl_keyfile.empty())
    fail(ErrorKind::kUsage,
         "TLS\n  expected  both --ssl-certfile and --ssl-keyfile\n  found     one of them");
  if (!options.unix_socket.empty() || is_loopback(options) || options.has_keys()) return;
  fail(ErrorKind::kUsage,
       "--host {}\n  expected  keys, because others can reach this address\n  found     none\n"
       "  hint      --api-key KEY, or --accounts FILE and `hadal keys create`; or --host 127.0.0.1",
       options.host);
}

std::shared_ptr<asio::ssl::context> make_tls(const ServeOptions& options) {
  if (options.ssl_certfile.empty()) return nullptr;
  auto tls = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  try {
    tls->set_options(asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1 |
                     asio::ssl::context::default_workarounds);
    tls->use_certificate_chain_file(options.ssl_certfile);
    tls->use_private_key_file(options.ssl_keyfile, asio::ssl::context::pem);
  } catch (const boost::system::system_error& e) {
    fail(ErrorKind::kUsage, "TLS\n  certificate {}\n  key         {}\n  found     {}", options.ssl_certfile,
         options.ssl_keyfile, e.what());
  }
  return tls;
}

}  // namespace

struct Server::State {
  explicit State(Service& s)
      : service(s), io(s.options.http_threads), acceptor(io), signals(io), drain_timer(io), retry_timer(io) {}

  void listen();
  void listen_tcp();
  void listen_unix();
  asio::awaitable<void> accept();
  asio::awaitable<void> serve(Socket socket);
  asio::awaitable<void> watch_signals();
  void close_sessions();
  void call(const std::function<void()>& hook);

  Service& service;
  asio::io_context io;
  Acceptor acceptor;
  asio::signal_set signals;
  asio::steady_timer drain_timer, retry_timer;
  SteadyTime next_refusal_warning;
  std::string address;
  std::mutex mutex;  // of what follows
  std::shared_ptr<asio::ssl::context> tls;
  std::list<std::weak_ptr<Session>> sessions;
  std::function<void()> drain, abort;
  bool draining = false;
  SteadyTime next_crowd_warning;
  std::vector<std::thread> threads;
};

void Server::State::listen_tcp() {
  const ServeOptions& options = service.options;
  asio::ip::tcp::resolver resolver(io);
  error_code error;
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port), asio::ip::tcp::resolver::passive, error);
  if (error || found.empty())
    fail(ErrorKind::kUsage, "--host {}\n  cannot be resolved: {}", options.host, error.message());
  const asio::ip::tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor.open(asio::generic::stream_protocol(endpoint.protocol()), error);
  if (!error) acceptor.set_option(Acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(asio::generic::stream_protocol::endpoint(endpoint), error);
  if (!error) acceptor.listen(Acceptor::max_listen_connections, error);
  if (error) {
    fail(ErrorKind::kUsage, "--host {} --port {}\n  cannot be listened on: {}\n  hint      another --port",
         options.host, options.port, error.message());
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  getsockname(acceptor.native_handle(), reinterpret_cast<sockaddr*>(&bound), &size);
  const bool v6 = bound.ss_family == AF_INET6;
  const int port = ntohs(v6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                            : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  address =
      fmt::format("{}://{}:{}", tls ? "https" : "http", v6 ? "[" + options.host + "]" : options.host, port);
}

void Server::State::listen_unix() {
  const std::string& path = service.options.unix_socket;
  error_code error;
  ::unlink(
      path.c_str());  // what a server that was killed has left; a file of another kind stays, and bind says so
  const asio::local::stream_protocol::endpoint endpoint(path);
  acceptor.open(asio::generic::stream_protocol(endpoint.protocol()), error);
  const mode_t before = umask(0177);  // for its owner only
  if (!error) acceptor.bind(asio::generic::stream_protocol::endpoint(endpoint), error);
  umask(before);
  if (!error) acceptor.listen(Acceptor::max_listen_connections, error);
  if (error) fail(ErrorKind::kUsage, "--uds {}\n  cannot be listened on: {}", path, error.message());
  address = "unix:" + path;
}

// As many connections as the system allows: the usual limit is 1,024 files.
static void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

void Server::State::listen() {
  raise_file_limit();
  check_options(service.options);
  tls = make_tls(service.options);
  if (service.options.unix_socket.empty()) {
    listen_tcp();
  } else {
    listen_unix();
  }
}

asio::awaitable<void> Server::State::accept() {
  while (acceptor.is_open()) {
    error_code error;
    Socket socket(asio::make_strand(io));
    auto token = asio::redirect_error(asio::use_awaitable, error);
    co_await acceptor.async_accept(socket, token);
    if (error == asio::error::operation_aborted) break;
    if (error) {  // no file descriptors left, most likely: some will be free again
      if (is_due(next_refusal_warning)) log_warning("connections cannot be accepted: {}", error.message());
      retry_timer.expires_after(std::chrono::milliseconds(100));
      error_code ignored;
      auto wait = asio::redirect_error(asio::use_awaitable, ignored);
      co_await retry_timer.async_wait(wait);
      continue;
    }
    const auto executor = socket.get_executor();
    asio::co_spawn(executor, serve(std::move(socket)), asio::detached);
  }
}

asio::awaitable<void> Server::State::serve(Socket socket) {
  std::shared_ptr<Session> session;
  std::shared_ptr<asio::ssl::context> context;
  {
    const std::lock_guard lock(mutex);
    std::erase_if(sessions, [](const auto& other) { return other.expired(); });
    if (draining) co_return;
    if (sessions.size() >= kMaxConnections) {
      if (is_due(next_crowd_warning)) log_warning("{} connections: more are closed at once", kMaxConnections);
      co_return;
    }
    context = tls;
    int one = 1;  // a token's event is not to wait for the next
    setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    session = std::make_shared<Session>(make_transport(std::move(socket), context.get()), service);
    sessions.push_back(session);
  }
  co_await session->run();
}

void Server::State::close_sessions() {
  const std::lock_guard lock(mutex);
  draining = true;
  error_code ignored;
  acceptor.close(ignored);
  for (const auto& weak : sessions) {
    if (const auto session = weak.lock())
      asio::post(session->executor(), [session] { session->close_when_idle(); });
  }
}

// While the model is being loaded nothing has been accepted that could be lost.
void Server::State::call(const std::function<void()>& hook) {
  std::function<void()> copy;
  {
    const std::lock_guard lock(mutex);
    copy = hook;
  }
  if (!copy) std::_Exit(0);
  copy();
}

asio::awaitable<void> Server::State::watch_signals() {
  bool first = true;
  while (true) {
    error_code error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    const int signal = co_await signals.async_wait(token);
    if (error) co_return;
    if (signal == SIGHUP) {
      try {
        auto fresh = make_tls(service.options);
        const std::lock_guard lock(mutex);
        tls = std::move(fresh);
      } catch (const Error& e) {
        log_warning("SIGHUP: the certificate stays as it was: {}", e.what());
      }
      continue;
    }
    if (first) {
      service.stage = Stage::kDraining;
      close_sessions();
      call(drain);
      drain_timer.expires_after(service.options.drain_timeout);
      drain_timer.async_wait([this](const error_code& e) {
        if (!e) call(abort);
      });
    } else {
      call(abort);
    }
    first = false;
  }
}

Server::Server(Service& service) : state_(std::make_unique<State>(service)) {
  state_->listen();
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) state_->signals.add(signal);
  asio::co_spawn(state_->io, state_->watch_signals(), asio::detached);
  asio::co_spawn(state_->io, state_->accept(), asio::detached);
  for (int i = 0; i < service.options.http_threads; ++i)
    state_->threads.emplace_back([state = state_.get()] { state->io.run(); });
}

Server::~Server() {
  state_->io.stop();
  for (std::thread& thread : state_->threads) thread.join();
  state_->service.aside.finish();  // it works on what the connections hold, and they wait for it
  if (!state_->service.options.unix_socket.empty()) ::unlink(state_->service.options.unix_socket.c_str());
}

const std::string& Server::address() const {
  return state_->address;
}

void Server::finish(std::chrono::seconds longest) {
  const auto deadline = std::chrono::steady_clock::now() + longest;
  state_->close_sessions();
  while (std::chrono::steady_clock::now() < deadline) {
    {
      const std::lock_guard lock(state_->mutex);
      std::erase_if(state_->sessions, [](const auto& session) { return session.expired(); });
      if (state_->sessions.empty()) return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void Server::on_signal(std::function<void()> drain, std::function<void()> abort) {
  const std::lock_guard lock(state_->mutex);
  state_->drain = std::move(drain);
  state_->abort = std::move(abort);
}

}  // namespace hadal::serve
