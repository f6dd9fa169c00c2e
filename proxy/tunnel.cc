// CONNECT: a host that a route names under https is opened, any other is a blind tunnel. And the
// byte-for-byte relay that blind tunnels and upgraded connections share.
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ssl/error.hpp>

#include "proxy/pipeline.h"

namespace ledger {
namespace {

// What could be half a method's name may be another protocol's whole greeting, whose sender waits
// for an answer.
constexpr std::chrono::seconds undecided_max{1};

// One direction, to its end; the end is passed on as a half-close. A failure ends both directions.
Awaitable<> copy(Stream& from, Stream& to, std::string first) {
  if (!first.empty() && (co_await to.write(asio::buffer(first))).error) {
    from.close();
    co_return;
  }
  Buffer buffer;
  for (;;) {
    const auto got = co_await from.read_some(buffer);
    if (got.bytes == 0 || got.error) {
      if (got.error == asio::error::eof)
        co_await to.shutdown_send();
      else
        to.close();
      co_return;
    }
    if ((co_await to.write(asio::buffer(buffer.rest()))).error) {
      from.close();
      co_return;
    }
    buffer.consume(got.bytes);
  }
}

// authority-form: host ":" port (RFC 9112 section 3.2.3).
std::optional<Url> authority(std::string_view target) {
  const auto colon = target.rfind(':');
  if (colon == target.npos) return std::nullopt;
  auto url = parse_url("http://" + std::string(target) + "/");
  if (!url) return std::nullopt;
  return *url;
}

std::string authority_of(const Url& url) {
  return url.host + ":" + std::to_string(url.port_number());
}

// Why a client ended TLS, and what to do where it did not like our certificate.
std::string client_reason(const ErrorCode& error) {
  auto why = tls_reason(error);
  if (why.find("unknown ca") != why.npos || why.find("certificate") != why.npos)
    why += " (it does not trust our CA: see `ledger ca path`)";
  return why;
}

Url under(std::string_view scheme, const std::string& host, std::uint16_t port) {
  return *parse_url(std::string(scheme) + "://" + host + ":" + std::to_string(port) + "/");
}

}  // namespace

Awaitable<> relay(Stream& a, Stream& b, std::string first_from_a, std::string first_from_b) {
  using namespace asio::experimental::awaitable_operators;
  a.expires_never();
  b.expires_never();
  co_await (copy(a, b, std::move(first_from_a)) && copy(b, a, std::move(first_from_b)));
}

// Does a route name this host under https?
bool Session::opens(const std::string& host, std::uint16_t port) const {
  for (const auto& route : proxy_.config.routes)
    if (route.pattern.opens(host, port)) return true;
  return false;
}

Awaitable<Session::Then> Session::connect_tunnel(const CallState& call) {
  auto caller = identify_caller(call.head, false, proxy_.config.auth_token);
  if (!caller) co_return co_await give_problem(call, caller.error());
  if (proxy_.draining) co_return co_await give_problem(call, problem::draining());
  auto url = authority(call.head.target);
  if (!url || tunnel_)
    co_return co_await give_problem(
        call, problem::bad_request(url ? "A tunnel inside a tunnel is not opened."
                                       : "CONNECT takes HOST:PORT, such as api.example.com:443."));
  if (has_passed_here(call.head, proxy_.via) || is_own_address(*url, proxy_.own))
    co_return co_await give_problem(call, problem::loop_detected());
  Tunnel tunnel{std::move(*url), std::move(*caller)};
  const UpstreamAddress to{tunnel.url};
  constexpr std::string_view established = "HTTP/1.1 200 Connection established\r\n\r\n";

  // A blind tunnel reaches its upstream at once, so that a server may speak first.
  if (!opens(tunnel.url.host, tunnel.url.port_number())) {
    auto upstream = co_await worker_.pool.acquire(
        to, UpstreamPool::Freshness::unused, SteadyClock::now() + proxy_.config.connect_timeout);
    if (!upstream)
      co_return co_await give_problem(call, problem::upstream_unreachable(upstream.error().why));
    if (!co_await send(established)) co_return Then::close;
    co_return co_await blind_tunnel(std::move(tunnel), std::move(*upstream));
  }
  if (!proxy_.interception)
    co_return co_await give_problem(
        call, problem::not_implemented("A route guards this host over https, and its tunnels "
                                       "cannot be opened: " +
                                       proxy_.no_interception + ". Nothing was sent."));
  if (!co_await send(established)) co_return Then::close;
  stream_.expires_after(proxy_.config.idle_timeout);
  std::string server_name;
  const auto speaks = co_await first_bytes(server_name);
  if (speaks == FirstBytes::undecided) co_return Then::close;
  if (speaks == FirstBytes::begun) {
    // Its rest, come later, would be a guarded call that nobody guards.
    log_tunnel(authority_of(tunnel.url),
               "the client began a TLS or HTTP message and did not go on");
    co_return Then::close;
  }
  if (speaks != FirstBytes::other) co_return co_await enter(std::move(tunnel), speaks);

  log_tunnel(authority_of(tunnel.url),
             "what the client sends is neither TLS nor HTTP/1.1: it goes through unguarded");
  auto upstream = co_await worker_.pool.acquire(to, UpstreamPool::Freshness::unused,
                                                SteadyClock::now() + proxy_.config.connect_timeout);
  if (!upstream) {
    log_tunnel(authority_of(tunnel.url), upstream.error().why);
    co_return Then::close;
  }
  proxy_.metrics.count(CallStatus::passed);
  co_await relay(stream_, (*upstream)->stream, reader_.take_buffered(), {});
  co_return Then::close;
}

// What the client's first bytes are. undecided: it ended, or said nothing until the deadline;
// begun: it stopped in the middle.
Awaitable<FirstBytes> Session::first_bytes(std::string& server_name) {
  for (;;) {
    const auto bytes = reader_.buffered();
    const auto speaks = look_at(bytes, proxy_.config.header_max, server_name);
    const bool begun = speaks == FirstBytes::begun;
    if (!begun && speaks != FirstBytes::undecided) co_return speaks;
    if (begun)
      stream_.expires_after(proxy_.config.header_timeout);
    else if (!bytes.empty())
      stream_.expires_after(undecided_max);
    const auto error = co_await reader_.read_more();
    if (error == ReadError::none) continue;
    if (begun) co_return speaks;
    // What could have been a method and does not go on is for the upstream to make sense of.
    co_return reader_.has_buffered() ? FirstBytes::other : FirstBytes::undecided;
  }
}

// The upstream's bytes go to the client from the start. Unless it spoke first, the client's first
// bytes may still show a call that is ours to guard: plain HTTP, or TLS that names a guarded host
// (of a client that looks names up itself and connects to an address).
Awaitable<Session::Then> Session::blind_tunnel(Tunnel tunnel, UpstreamConnectionPtr upstream) {
  using namespace asio::experimental::awaitable_operators;
  auto& server = upstream->stream;
  stream_.expires_never();
  server.expires_never();
  bool spoken = false, ours = false;
  auto speaks = FirstBytes::undecided;
  std::string server_name;

  const auto downwards = [&]() -> Awaitable<> {
    std::string first;
    {
      Buffer buffer;
      co_await server.read_some(buffer);
      first = buffer.rest();
    }
    if (ours) co_return;
    spoken = true;
    co_await copy(server, stream_, std::move(first));
  };
  const auto upwards = [&]() -> Awaitable<> {
    speaks = co_await first_bytes(server_name);
    stream_.expires_never();
    const bool guarded =
        speaks == FirstBytes::http ||
        (speaks == FirstBytes::tls && opens(server_name, tunnel.url.port_number()));
    ours = guarded && !spoken;
    if (ours) {
      server.close();
      co_return;
    }
    proxy_.metrics.count(CallStatus::passed);
    co_await copy(stream_, server, reader_.take_buffered());
  };
  co_await (downwards() && upwards());
  if (!ours) co_return Then::close;
  if (speaks == FirstBytes::tls) tunnel.url = under("https", server_name, tunnel.url.port_number());
  co_return co_await enter(std::move(tunnel), speaks);
}

// From here on the client's calls are read in the clear; run() goes on with them.
Awaitable<Session::Then> Session::enter(Tunnel tunnel, FirstBytes speaks) {
  const bool tls = speaks == FirstBytes::tls;
  destination_.reset();
  tunnel_.emplace(Tunnel{under(tls ? "https" : "http", tunnel.url.host, tunnel.url.port_number()),
                         std::move(tunnel.caller)});
  if (!tls) co_return Then::next;
  if (!proxy_.interception) {
    log_tunnel(authority_of(tunnel_->url), "it cannot be opened: " + proxy_.no_interception);
    co_return Then::close;
  }
  stream_.expires_after(proxy_.config.header_timeout);
  const auto prepare = [this](SSL* ssl) {
    Interception::set_fallback_name(ssl, tunnel_->url.host);
  };
  const auto error = co_await stream_.handshake_as_server(proxy_.interception->context(),
                                                          reader_.take_buffered(), prepare);
  if (!error) co_return Then::next;
  log_tunnel(authority_of(tunnel_->url), "TLS handshake with the client: " + client_reason(error));
  co_return Then::close;
}

void Session::log_tunnel(const std::string& authority, const std::string& what) const {
  proxy_.log("tunnel to " + authority + " from " + client_address_ + ": " + what);
}

// In TLS 1.3 a client that refuses our certificate says so after our handshake has ended.
void Session::log_silent_end() const {
  const auto& end = stream_.ended();
  if (tunnel_ && end.category() == asio::error::get_ssl_category())
    log_tunnel(authority_of(tunnel_->url), "the client gave up: " + client_reason(end));
}

}  // namespace ledger
