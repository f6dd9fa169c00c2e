#include "proxy/upstream.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <boost/asio/ssl/error.hpp>
#include <filesystem>

namespace ledger {
namespace {

namespace ip = asio::ip;

constexpr std::chrono::seconds idle_max{30};
constexpr std::chrono::seconds fresh_max{1};
constexpr std::size_t idle_per_origin_max = 256;

std::string bare_host(const Url& url) {
  if (url.host.size() > 2 && url.host.front() == '[')
    return url.host.substr(1, url.host.size() - 2);
  return url.host;
}

std::string text(const ip::tcp::endpoint& e) {
  const auto address = e.address().to_string();
  return (e.address().is_v6() ? "[" + address + "]" : address) + ":" + std::to_string(e.port());
}

std::string connect_sentence(const ip::tcp::endpoint& to, const ErrorCode& error) {
  if (error == asio::error::connection_refused) return "connection refused by " + text(to);
  if (error == asio::error::timed_out) return "timed out connecting to " + text(to);
  return "cannot connect to " + text(to) + ": " + error.message();
}

std::string handshake_sentence(const Url& url, const Stream& stream, const ErrorCode& error) {
  const auto whom = url.host + ":" + std::to_string(url.port_number());
  if (!stream.certificate_error().empty())
    return "the certificate of " + whom + " was refused: " + stream.certificate_error();
  auto s = "the TLS handshake with " + whom + " failed: " + error.message();
  if (error.category() == asio::error::get_ssl_category() &&
      ERR_GET_REASON(static_cast<unsigned long>(error.value())) == SSL_R_WRONG_VERSION_NUMBER)
    s += " (does it speak plain HTTP?)";
  return s;
}

}  // namespace

tl::expected<std::shared_ptr<asio::ssl::context>, std::string> make_upstream_tls(
    const std::vector<std::string>& roots) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  context->set_verify_mode(asio::ssl::verify_peer);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  ErrorCode error;
  context->set_default_verify_paths(error);
  for (const auto& file : roots) {
    std::error_code missing;
    if (!std::filesystem::exists(file, missing))
      return tl::unexpected("tls.roots: cannot read " + file + ": no such file");
    context->load_verify_file(file, error);
    if (error)
      return tl::unexpected("tls.roots: " + file + " holds no PEM certificate: " + error.message());
  }
  return context;
}

UpstreamPool::UpstreamPool(Deadlines& deadlines, std::shared_ptr<asio::ssl::context> tls,
                           const Config& config)
    : deadlines_(deadlines), tls_(std::move(tls)), config_(config), sweeper_(deadlines.context()) {}

UpstreamConnectionPtr UpstreamPool::take_idle(const std::string& origin, Freshness freshness) {
  const auto found = idle_.find(origin);
  if (found == idle_.end()) return nullptr;
  auto& connections = found->second;
  while (!connections.empty()) {
    // The one used last is the one least likely to be closed by now.
    auto connection = std::move(connections.back());
    connections.pop_back();
    const auto idle = SteadyClock::now() - connection->idle_since;
    if (freshness == Freshness::guarded && idle >= fresh_max) break;  // the others are older still
    if (connection->stream.idle_and_open()) return connection;
  }
  if (connections.empty()) idle_.erase(found);
  return nullptr;
}

Awaitable<tl::expected<std::vector<ip::tcp::endpoint>, std::string>> UpstreamPool::resolve(
    const Url& url, SteadyClock::time_point deadline) {
  const auto host = bare_host(url);
  ErrorCode error;
  const auto address = ip::make_address(host, error);
  if (!error) co_return std::vector<ip::tcp::endpoint>{{address, url.port_number()}};
  Timer timer(deadlines_.context(), deadline);
  auto resolver = std::make_shared<Resolver>(deadlines_.context());
  timer.async_wait([resolver](ErrorCode e) {
    if (!e) resolver->cancel();
  });
  const auto [failed, results] = co_await resolver->async_resolve(
      host, std::to_string(url.port_number()), ip::resolver_base::numeric_service, use_result);
  if (failed == asio::error::operation_aborted)
    co_return tl::unexpected("timed out looking up " + host);
  if (failed) co_return tl::unexpected("cannot look up " + host + ": " + failed.message());
  std::vector<ip::tcp::endpoint> endpoints;
  for (const auto& r : results) endpoints.push_back(r.endpoint());
  co_return endpoints;
}

Awaitable<tl::expected<UpstreamConnectionPtr, ConnectError>> UpstreamPool::acquire(
    const Url& url, Freshness freshness, SteadyClock::time_point deadline) {
  const auto origin = url.origin();
  if (auto idle = take_idle(origin, freshness)) {
    idle->reused = true;
    co_return std::move(idle);
  }
  deadline = std::min(deadline, SteadyClock::now() + config_.connect_timeout);
  const auto endpoints = co_await resolve(url, deadline);
  if (!endpoints) co_return tl::unexpected(ConnectError{endpoints.error()});
  std::string why = "no address for " + url.host;
  for (const auto& endpoint : *endpoints) {
    auto connection = std::make_unique<UpstreamConnection>(
        Socket(deadlines_.context(), endpoint.protocol()), deadlines_, config_.header_max);
    connection->origin = origin;
    connection->stream.expires_at(deadline);
    if (const auto error = co_await connection->stream.connect(endpoint)) {
      why = connect_sentence(endpoint, error);
      continue;
    }
    if (url.scheme == "https")
      if (const auto error = co_await connection->stream.handshake_as_client(*tls_, bare_host(url)))
        co_return tl::unexpected(ConnectError{handshake_sentence(url, connection->stream, error)});
    connection->stream.expires_never();
    co_return std::move(connection);
  }
  co_return tl::unexpected(ConnectError{std::move(why)});
}

void UpstreamPool::release(UpstreamConnectionPtr connection) {
  auto& connections = idle_[connection->origin];
  connection->idle_since = SteadyClock::now();
  connection->stream.expires_never();
  connections.push_back(std::move(connection));
  if (connections.size() > idle_per_origin_max) connections.pop_front();
  if (!sweeping_) sweep();
}

void UpstreamPool::sweep() {
  const auto now = SteadyClock::now();
  for (auto it = idle_.begin(); it != idle_.end();) {
    auto& connections = it->second;
    while (!connections.empty() && now - connections.front()->idle_since > idle_max)
      connections.pop_front();
    it = connections.empty() ? idle_.erase(it) : std::next(it);
  }
  sweeping_ = !idle_.empty();
  if (!sweeping_) return;
  sweeper_.expires_at(now + std::chrono::seconds(5));
  sweeper_.async_wait([this](ErrorCode error) {
    if (!error) sweep();
  });
}

std::size_t UpstreamPool::idle() const {
  std::size_t n = 0;
  for (const auto& [origin, connections] : idle_) n += connections.size();
  return n;
}

}  // namespace ledger
