#include "proxy/server.h"

#include <openssl/rand.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <thread>

#include "guard/instance.h"
#include "proxy/descriptors.h"
#include "proxy/listen.h"
#include "proxy/prober.h"
#include "proxy/session.h"

namespace ledger {
namespace {

using Acceptor = asio::basic_socket_acceptor<asio::ip::tcp, Executor>;
using tcp = asio::ip::tcp;

// A drain does not wait longer than this for streams that nobody guards (an SSE feed may never
// end).
constexpr std::chrono::seconds drain_passing{5};

std::string random_hex() {
  unsigned char bytes[4];
  RAND_bytes(bytes, sizeof bytes);
  char text[9];
  std::snprintf(text, sizeof text, "%02x%02x%02x%02x", bytes[0], bytes[1], bytes[2], bytes[3]);
  return text;
}

std::string too_busy_answer() {
  const auto problem = problem::too_busy();
  const auto body = problem_json(problem, {}, {});
  std::string out;
  append_status_line(out, problem.status, "");
  append_field(out, "Content-Type", "application/problem+json");
  append_field(out, "Content-Length", body.size());
  append_field(out, "Ledger-Status", to_string(CallStatus::refused));
  append_field(out, "Retry-After", static_cast<std::uint64_t>(*problem.retry_after_s));
  append_connection(out, 11, false);
  return out + "\r\n" + body;
}

}  // namespace

struct Server::Impl {
  Impl(const Config& c, Store& store, Metrics& metrics, Proxy::Log log)
      : config(c),
        journal(std::move(log)),
        guard(store, metrics, lease, config.memory_max, &journal),
        proxy(config, guard, metrics, store.secret(), "ledger-" + random_hex(),
              [this](const std::string& line) { journal.say_of_client(line); }) {}

  ~Impl() {
    stop();
    proxy.aside.stop();
    prober.reset();
    guard.quiesce();
    instance.reset();
    workers.clear();  // destroys what is suspended; the guard is still there
  }

  tl::expected<void, std::string> listen(const std::string& admin);
  void run(const UpstreamTls& tls);
  std::optional<Peers::Place> admit(Socket& socket, const asio::ip::address& peer);
  Awaitable<> accept(std::size_t worker, std::size_t listener);
  void stop();

  const Config& config;
  const std::string too_busy = too_busy_answer();  // to connections beyond what may be
  std::size_t connections_max = 0;                 // set at the start
  Journal journal;
  Lease lease;
  Guard guard;
  Proxy proxy;
  std::unique_ptr<Instance> instance;
  std::unique_ptr<Prober> prober;

  asio::io_context binder;           // never run: it only holds the listening sockets
  std::vector<tcp::acceptor> bound;  // one a listener
  struct Thread : Worker {
    using Worker::Worker;
    std::vector<std::unique_ptr<Acceptor>> acceptors;  // share the bound sockets
    std::thread thread;
  };
  std::vector<std::unique_ptr<Thread>> workers;
  bool stopped = false;
};

tl::expected<void, std::string> Server::Impl::listen(const std::string& admin) {
  for (const auto& listener : config.listeners) {
    auto acceptor = listen_on(binder, listener.listen);
    if (!acceptor) return tl::unexpected(acceptor.error());
    proxy.listeners.push_back(listener);
    proxy.listeners.back().listen.port = acceptor->local_endpoint().port();
    bound.push_back(std::move(*acceptor));
  }
  auto own = config.also_own;
  for (const auto& listener : proxy.listeners) own.push_back(listener.listen);
  // Without an endpoint of our own, that of the config is another process's on the same store.
  own.push_back(config.admin);
  if (const auto colon = admin.rfind(':'); colon != std::string::npos)
    own.back().port = static_cast<std::uint16_t>(std::stoul(admin.substr(colon + 1)));
  std::erase_if(own, [](const Endpoint& one) { return one.host.empty() || one.port == 0; });
  proxy.reach = std::make_unique<Reach>(config, std::move(own));
  return {};
}

void Server::Impl::run(const UpstreamTls& tls) {
  const std::size_t count =
      config.threads != 0 ? config.threads : std::max(1U, std::thread::hardware_concurrency());
  constexpr std::size_t of_a_context = 3;  // epoll, its interrupter, its timer
  connections_max =
      std::min(config.connections_max, connections_possible(count * (of_a_context + bound.size())));
  for (std::size_t i = 0; i < count; ++i) {
    auto& thread = *workers.emplace_back(std::make_unique<Thread>(config, tls, *proxy.reach));
    for (std::size_t l = 0; l < bound.size(); ++l) {
      // The kernel's one queue feeds all threads; each has a descriptor of its own.
      auto acceptor = std::make_unique<Acceptor>(thread.context);
      acceptor->assign(bound[l].local_endpoint().protocol(), ::dup(bound[l].native_handle()));
      thread.acceptors.push_back(std::move(acceptor));
      asio::co_spawn(thread.context, accept(i, l), asio::detached);
    }
  }
  for (auto& worker : workers)
    worker->thread = std::thread([&context = worker->context] {
      const auto work = asio::make_work_guard(context);
      context.run();
    });
}

// A connection's place among the others; nullopt: there is none for it.
std::optional<Peers::Place> Server::Impl::admit(Socket& socket, const asio::ip::address& peer) {
  const auto open = proxy.metrics.connections.load(std::memory_order_relaxed);
  if (open >= static_cast<std::int64_t>(connections_max)) return std::nullopt;
  // Connections that their clients have left behind (executions, tunnels) may hold the rest.
  if (is_kept(socket.native_handle())) return std::nullopt;
  return proxy.peers.admit(peer);
}

Awaitable<> Server::Impl::accept(std::size_t worker, std::size_t listener) {
  auto& thread = *workers[worker];
  auto& acceptor = *thread.acceptors[listener];
  for (;;) {
    Socket socket(thread.context);
    const auto [error] = co_await acceptor.async_accept(socket, use_result);
    if (error == asio::error::operation_aborted || proxy.draining) co_return;
    if (error) {
      // Out of descriptors or memory: the queue keeps the others until there are some again.
      Timer pause(thread.context, std::chrono::milliseconds(50));
      co_await pause.async_wait(use_result);
      continue;
    }
    ErrorCode ignored;
    const auto peer = socket.remote_endpoint(ignored);
    if (ignored) continue;
    auto place = admit(socket, peer.address());
    if (!place) {
      socket.non_blocking(true, ignored);
      socket.write_some(asio::buffer(too_busy), ignored);  // a courtesy: whatever fits
      continue;                                            // closes it
    }
    Session::start(std::make_shared<Session>(proxy, thread, std::move(socket),
                                             proxy.listeners[listener], peer.address().to_string(),
                                             std::move(*place)));
  }
}

void Server::Impl::stop() {
  if (std::exchange(stopped, true)) return;
  for (auto& worker : workers) worker->context.stop();
  for (auto& worker : workers)
    if (worker->thread.joinable()) worker->thread.join();
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

tl::expected<std::unique_ptr<Server>, std::string> Server::start(const Config& config, Store& store,
                                                                 Metrics& metrics,
                                                                 const std::string& admin, Log log,
                                                                 Authority authority) {
  auto tls = make_upstream_tls(config);
  if (!tls) return tl::unexpected(tls.error());
  auto impl = std::make_unique<Impl>(config, store, metrics, std::move(log));
  if (opens_tunnels(config)) {
    if (!authority) {
      auto opened = CertificateAuthority::open(config);
      // Without it mounts and plain HTTP still work; tunnels are refused, never let through
      // unguarded.
      if (opened)
        authority = std::move(*opened);
      else
        impl->proxy.no_interception = opened.error();
    }
    if (authority)
      impl->proxy.interception = std::make_unique<Interception>(std::move(authority), metrics);
  }
  if (auto listening = impl->listen(admin); !listening) return tl::unexpected(listening.error());
  auto instance = Instance::start(config, store, impl->lease, &impl->journal);
  if (!instance) return tl::unexpected(instance.error());
  impl->instance = std::move(*instance);
  impl->run(*tls);
  if (Prober::is_needed(config))
    impl->prober = std::make_unique<Prober>(config, store, *tls, *impl->proxy.reach);
  metrics.phase = Phase::serving;
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

std::vector<std::string> Server::addresses() const {
  std::vector<std::string> all;
  for (const auto& listener : impl_->proxy.listeners) all.push_back(listener.listen.to_string());
  return all;
}

std::string Server::tunnels() const {
  const auto& proxy = impl_->proxy;
  if (!proxy.no_interception.empty())
    return "https tunnels that should be opened are refused: " + proxy.no_interception;
  const auto words = tunnels_in_words(proxy.config);
  if (!proxy.interception) return words;
  return words + "; clients must trust " + proxy.interception->authority().certificate_file();
}

std::string Server::fewer_connections() const {
  const auto wanted = impl_->config.connections_max, possible = impl_->connections_max;
  if (possible >= wanted) return "";
  return "at most " + std::to_string(possible) + " connections are taken at once, not " +
         std::to_string(wanted) +
         " as `limits: connections` says: each may need two file descriptors, and the system's "
         "hard limit (`ulimit -Hn`) is too low for more";
}

void Server::drain() {
  auto& proxy = impl_->proxy;
  proxy.draining = true;
  proxy.metrics.phase = Phase::draining;
  for (auto& acceptor : impl_->bound) {
    ErrorCode ignored;
    acceptor.close(ignored);
  }
  for (auto& worker : impl_->workers)
    asio::post(worker->context, [&w = *worker] {
      for (auto& acceptor : w.acceptors) acceptor->close();
    });
  const auto begun = SteadyClock::now();
  for (;;) {
    const auto waited = SteadyClock::now() - begun;
    const bool executing = proxy.metrics.executions.load() > 0 || proxy.guarded_calls.load() > 0;
    const bool passing = proxy.passing_calls.load() > 0 && waited < drain_passing;
    if ((!executing && !passing) || waited >= proxy.config.drain_timeout) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  impl_->stop();
}

}  // namespace ledger
