#include "proxy/upstream.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <boost/asio/ssl/error.hpp>
#include <fstream>
#include <system_error>

namespace ledger {
namespace {

namespace ip = asio::ip;

constexpr std::chrono::seconds idle_max{30};
constexpr std::chrono::seconds fresh_max{1};
constexpr std::chrono::seconds sweep_interval{5};
constexpr std::size_t idle_per_origin_max = 256;
constexpr std::chrono::seconds attempt_min{2};  // one address's least share of the time

std::string bare_host(const Url& url) {
  if (url.host.size() > 2 && url.host.front() == '[')
    return url.host.substr(1, url.host.size() - 2);
  return url.host;
}

std::string text(const ip::tcp::endpoint& e) {
  const auto address = e.address().to_string();
  return (e.address().is_v6() ? "[" + address + "]" : address) + ":" + std::to_string(e.port());
}

std::string text(SteadyClock::duration d) {
  const auto ms = std::chrono::round<std::chrono::milliseconds>(d).count();
  return ms >= 1000 ? std::to_string((ms + 500) / 1000) + " s" : std::to_string(ms) + " ms";
}

// "api.x (127.0.0.1:443)"; an address alone needs no second mention.
std::string whom(const Url& url, const ip::tcp::endpoint& to) {
  const auto host = bare_host(url);
  return host == to.address().to_string() ? text(to) : host + " (" + text(to) + ")";
}

}  // namespace

// One address of a destination.
struct UpstreamPool::Attempt {
  std::string origin;
  ip::tcp::endpoint to;
  SteadyClock::time_point begun, deadline;

  std::string timed_out(const char* doing, const std::string& target) const {
    return "timed out after " + text(SteadyClock::now() - begun) + " " + doing + " " + target;
  }
  std::string connect_sentence(const ErrorCode& error) const {
    if (error == asio::error::connection_refused) return "connection refused by " + text(to);
    if (error == asio::error::timed_out) return timed_out("connecting to", text(to));
    return "cannot connect to " + text(to) + ": " + error.message();
  }
  std::string handshake_sentence(const Url& url, const Stream& stream,
                                 const ErrorCode& error) const {
    if (!stream.certificate_error().empty())
      return "certificate of " + whom(url, to) + " was refused: " + stream.certificate_error();
    if (error == asio::error::timed_out)
      return timed_out("in the TLS handshake with", whom(url, to));
    return "TLS handshake with " + whom(url, to) + " failed: " + tls_reason(error);
  }
};

namespace {

using TlsContext = std::shared_ptr<asio::ssl::context>;

tl::expected<void, std::string> trust(asio::ssl::context& context,
                                      const std::vector<std::string>& roots) {
  ErrorCode error;
  context.set_verify_mode(asio::ssl::verify_peer);
  // A machine without any system roots is no error: `roots` may be all it needs.
  context.set_default_verify_paths(error);
  ERR_clear_error();
  for (const auto& file : roots) {
    std::ifstream readable(file);
    char first = 0;
    if (!readable.get(first) && !readable.eof())
      return tl::unexpected("tls.roots: cannot read " + file + ": " +
                            std::generic_category().message(errno));
    context.load_verify_file(file, error);
    ERR_clear_error();
    if (error) return tl::unexpected("tls.roots: " + file + ": no certificate in it");
  }
  return {};
}

TlsContext client_context() {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  return context;
}

// The same, and it shows `tls.client_cert`, where there is one.
tl::expected<TlsContext, std::string> presenting_context(const Config& config) {
  auto context = client_context();
  auto* const ctx = context->native_handle();
  if (config.tls_client_cert.empty()) return context;
  const auto refuse = [](const std::string& what) {
    const char* const reason = ERR_reason_error_string(ERR_get_error());
    ERR_clear_error();
    return tl::unexpected(what + (reason != nullptr ? std::string(": ") + reason : ""));
  };
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(ctx, config.tls_client_cert.c_str()) != 1)
    return refuse("tls.client_cert: " + config.tls_client_cert);
  if (SSL_CTX_use_PrivateKey_file(ctx, config.tls_client_key.c_str(), SSL_FILETYPE_PEM) != 1)
    return refuse("tls.client_key: " + config.tls_client_key);
  return context;
}

// The config's own names first. A copy of them: a look-up may outlive the config.
NameLookup::Resolve resolver(const Config& config) {
  if (config.addresses.empty()) return system_lookup;
  return [hosts = config.addresses](const std::string& host) -> LookupResult {
    for (const auto& [name, address] : hosts)
      if (name == host) return Addresses{ip::make_address(address)};
    return system_lookup(host);
  };
}

}  // namespace

tl::expected<UpstreamTls, std::string> make_upstream_tls(const Config& config) {
  UpstreamTls tls{client_context(), nullptr};
  if (auto trusted = trust(*tls.verifying, config.tls_roots); !trusted)
    return tl::unexpected(trusted.error());
  if (!config.tls_client_cert.empty()) {
    auto presenting = presenting_context(config);
    if (!presenting) return tl::unexpected(presenting.error());
    tls.presenting = std::move(*presenting);
    if (auto trusted = trust(*tls.presenting, config.tls_roots); !trusted)
      return tl::unexpected(trusted.error());
  }
  const bool any = std::any_of(config.mounts.begin(), config.mounts.end(),
                               [](const Mount& mount) { return mount.insecure; });
  if (any) tls.insecure = *presenting_context(config);
  return tls;
}

UpstreamPool::UpstreamPool(Deadlines& deadlines, UpstreamTls tls, const Config& config,
                           const Reach& reach)
    : deadlines_(deadlines),
      tls_(std::move(tls)),
      config_(config),
      reach_(reach),
      names_(deadlines.context(), resolver(config)),
      sweeper_(deadlines.context()) {}

std::string UpstreamPool::key(const UpstreamAddress& to) {
  // Never carries the calls of another mount, nor those that only a caller sends there.
  return to.url.origin() + (to.insecure ? " unverified" : "") + (to.configured ? " ours" : "");
}

UpstreamConnectionPtr UpstreamPool::take_idle(const std::string& origin, Freshness freshness) {
  const auto found = idle_.find(origin);
  if (freshness == Freshness::unused || found == idle_.end()) return nullptr;
  auto& connections = found->second;
  while (!connections.empty()) {
    // The one used last is the one least likely to be closed by now.
    const auto idle = SteadyClock::now() - connections.back()->idle_since;
    if (freshness == Freshness::guarded && idle >= fresh_max) break;  // the others are older still
    auto connection = std::move(connections.back());
    connections.pop_back();
    // Also for bytes that nobody asked for: the next call would take them for its answer.
    if (!connection->stream.idle_and_open()) continue;
    connection->reused = true;
    return connection;
  }
  return nullptr;
}

Awaitable<tl::expected<UpstreamConnectionPtr, ConnectError>> UpstreamPool::acquire(
    const UpstreamAddress& to, Freshness freshness, SteadyClock::time_point deadline) {
  const Url& url = to.url;
  Attempt attempt;
  attempt.origin = key(to);
  if (auto idle = take_idle(attempt.origin, freshness)) co_return std::move(idle);
  attempt.begun = SteadyClock::now();
  deadline = std::min(deadline, attempt.begun + config_.connect_timeout);
  if (auto refused = reach_.refuses(url, to.configured))
    co_return tl::unexpected(ConnectError{std::move(refused->why), true, refused->reason});
  auto addresses = co_await names_.lookup(bare_host(url), deadline);
  if (!addresses) co_return tl::unexpected(ConnectError{addresses.error(), false});
  if (auto refused = keep_allowed(to, *addresses)) co_return tl::unexpected(std::move(*refused));

  ConnectError failed;
  for (std::size_t i = 0; i < addresses->size(); ++i) {
    // One address that swallows packets must not take the time of the others.
    const auto now = SteadyClock::now();
    const auto share = (deadline - now) / static_cast<int>(addresses->size() - i);
    attempt.deadline =
        std::min(deadline, now + std::max<SteadyClock::duration>(share, attempt_min));
    attempt.to = ip::tcp::endpoint((*addresses)[i], url.port_number());
    bool try_next = false;
    auto opened = co_await open(to, attempt, try_next);
    if (opened) co_return std::move(opened);
    (failed.why += failed.why.empty() ? "" : "; ") += opened.error().why;
    failed.lasting = opened.error().lasting;
    if (!try_next || SteadyClock::now() >= deadline) break;
  }
  co_return tl::unexpected(std::move(failed));
}

// Only the addresses that are connected to tell where a name leads. What is ours is not gone round
// by way of another address; of the others those go on that may be reached.
std::optional<ConnectError> UpstreamPool::keep_allowed(const UpstreamAddress& to,
                                                       Addresses& addresses) const {
  std::optional<ConnectError> refused;
  Addresses allowed;
  for (const auto& address : addresses) {
    auto refusal = reach_.refuses(to.url, address, to.configured);
    if (!refusal)
      allowed.push_back(address);
    else if (!refused || refusal->reason == NotReached::loop)
      refused = ConnectError{std::move(refusal->why), true, refusal->reason};
  }
  addresses = std::move(allowed);
  if (refused && (addresses.empty() || refused->reason == NotReached::loop)) return refused;
  return std::nullopt;
}

asio::ssl::context& UpstreamPool::tls_for(const UpstreamAddress& to) const {
  if (to.insecure) return *tls_.insecure;
  return tls_.presenting && reach_.sees_certificate(to.url) ? *tls_.presenting : *tls_.verifying;
}

// Connects and shakes hands. `try_next`: may another address of the same host do better?
Awaitable<UpstreamPool::Opened> UpstreamPool::open(const UpstreamAddress& to,
                                                   const Attempt& attempt, bool& try_next) {
  const Url& url = to.url;
  try_next = true;
  auto connection = std::make_unique<UpstreamConnection>(Socket(deadlines_.context()), deadlines_,
                                                         config_.header_max);
  connection->origin = attempt.origin;
  auto& stream = connection->stream;
  stream.expires_at(attempt.deadline);
  if (const auto error = co_await stream.connect(attempt.to))
    co_return tl::unexpected(ConnectError{attempt.connect_sentence(error), false});
  if (url.scheme == "https")
    if (const auto error = co_await stream.handshake_as_client(tls_for(to), bare_host(url))) {
      try_next = stream.certificate_error().empty();
      // Who takes the connection but says nothing to TLS speaks another protocol: it will not
      // answer the next try either, and the caller has waited long enough to be told.
      const bool lasting = !try_next || error == asio::error::timed_out;
      co_return tl::unexpected(
          ConnectError{attempt.handshake_sentence(url, stream, error), lasting});
    }
  stream.expires_never();
  co_return std::move(connection);
}

void UpstreamPool::release(UpstreamConnectionPtr connection) {
  const auto& reader = connection->reader;
  if (!reader.body_done() || !reader.head().keep_alive || reader.has_buffered() ||
      !connection->stream.socket().is_open() || connection->binds())
    return;
  auto& connections = idle_[connection->origin];
  connection->idle_since = SteadyClock::now();
  connection->stream.expires_never();
  connection->reader.shrink();
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
  sweeper_.expires_at(now + sweep_interval);
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
