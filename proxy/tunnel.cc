// CONNECT: a host that a route names under https is opened, any other is a blind tunnel. And the
// byte-for-byte relay that blind tunnels and upgraded connections share.
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ssl/error.hpp>

#include "proxy/pipeline.h"
#include "proxy/syntax.h"

namespace ledger {
namespace {

// Once one side of a tunnel has ended, the other one has so long to say the rest.
constexpr std::chrono::seconds half_closed_max{60};
// A peer that is gone without a word is found out so long after the last one: probes after a
// minute, four of them.
constexpr int keepalive_idle_s = 60, keepalive_interval_s = 15, keepalive_probes = 4;

void keep_alive(Socket& socket) {
  const auto set = [fd = socket.native_handle()](int level, int option, int value) {
    ::setsockopt(fd, level, option, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, keepalive_idle_s);
  set(IPPROTO_TCP, TCP_KEEPINTVL, keepalive_interval_s);
  set(IPPROTO_TCP, TCP_KEEPCNT, keepalive_probes);
}

// When a relay ends by itself: where nothing moves either way, and soon after one side has ended.
class Lifetime {
 public:
  Lifetime(Stream& a, Stream& b, SteadyClock::duration idle) : a_(a), b_(b), idle_(idle) {
    keep_alive(a.socket());
    keep_alive(b.socket());
    moved();
  }
  void moved() {
    const auto until = std::min(SteadyClock::now() + idle_, last_);
    a_.expires_at(std::min(until, a_until_));
    b_.expires_at(until);
  }
  // The first one has until then, whatever moves; max: as long as the other one again.
  void first_has_until(SteadyClock::time_point when) {
    a_until_ = when;
    moved();
  }
  void one_ended() {
    last_ = std::min(last_, SteadyClock::now() + half_closed_max);
    moved();
  }

 private:
  Stream& a_;
  Stream& b_;
  const SteadyClock::duration idle_;
  SteadyClock::time_point last_ = SteadyClock::time_point::max(), a_until_ = last_;
};

// One direction, to its end; the end is passed on as a half-close. A failure ends both directions.
Awaitable<> copy(Stream& from, Stream& to, std::string first, Lifetime& life) {
  if (!first.empty() && (co_await to.write(asio::buffer(first))).error) {
    from.close();
    co_return;
  }
  first = {};
  Buffer buffer;
  for (;;) {
    life.moved();
    const auto got = co_await from.read_some(buffer);
    if (got.bytes == 0 || got.error) {
      if (got.error == asio::error::eof) {
        life.one_ended();
        co_await to.shutdown_send();
      } else {
        to.close();
      }
      co_return;
    }
    life.moved();
    if ((co_await to.write(asio::buffer(buffer.rest()))).error) {
      from.close();
      co_return;
    }
    buffer.consume(got.bytes);
  }
}

Url under(std::string_view scheme, const std::string& host, std::uint16_t port) {
  Url url;
  url.scheme = scheme;
  url.host = host;
  if (port != (scheme == "https" ? 443 : 80)) url.port = std::to_string(port);
  url.path = "/";
  return url;
}

// authority-form: host ":" port and nothing else (RFC 9112 section 3.2.3).
std::optional<Url> authority(std::string_view target) {
  const auto colon = target.rfind(':');
  if (colon == target.npos) return std::nullopt;
  auto host = target.substr(0, colon);
  const auto port = target.substr(colon + 1);
  if (host.ends_with('.')) host.remove_suffix(1);
  if (!is_host_name(host) || port.empty() || !std::all_of(port.begin(), port.end(), is_digit))
    return std::nullopt;
  auto url = parse_url("http://" + std::string(host) + ":" + std::string(port) + "/");
  if (!url) return std::nullopt;
  return std::move(*url);
}

bool has_body(const Head& head) {
  return head.framing == Framing::chunked ||
         (head.framing == Framing::length && head.content_length > 0);
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

}  // namespace

Awaitable<> relay(Stream& a, Stream& b, std::string first_from_a, std::string first_from_b,
                  SteadyClock::duration idle) {
  using namespace asio::experimental::awaitable_operators;
  Lifetime life(a, b, idle);
  co_await (copy(a, b, std::move(first_from_a), life) && copy(b, a, std::move(first_from_b), life));
}

bool Session::opens(const std::string& host, std::uint16_t port) const {
  return opens_tunnel(proxy_.config, host, port);
}

// Why a CONNECT is refused from its head alone.
std::optional<Problem> Session::refuse_tunnel(const CallState& call,
                                              const std::optional<Url>& to) const {
  if (proxy_.draining) return problem::draining();
  if (has_body(call.head)) return problem::bad_request("A CONNECT has no body; nothing was sent.");
  if (!to) return problem::bad_request("CONNECT takes HOST:PORT, such as api.example.com:443.");
  if (tunnel_) return problem::bad_request("A tunnel inside a tunnel is not opened.");
  if (has_passed_here(call.head, proxy_.via)) return problem::loop_detected();
  if (const auto refused = proxy_.reach->refuses(*to, false))
    return problem::not_reached(refused->reason, refused->why);
  const auto port = to->port_number();
  const bool opened = opens(to->host, port);
  if (!opened && proxy_.config.https.strict &&
      !names_host(proxy_.config, under("http", to->host, port)))
    return problem::tunnel_not_opened(to->host);
  if (opened && !proxy_.interception)
    return problem::not_implemented(
        "Calls to this host are guarded over https, and its tunnels "
        "cannot be opened: " +
        proxy_.no_interception + ". Nothing was sent.");
  return std::nullopt;
}

// What the client speaks. undecided: it ended, or did not go on until the deadline. `begun(when)`
// is told once until when it has to, at its first byte: who sends byte by byte has no more time.
template <class Begun>
Awaitable<FirstBytes> Session::first_bytes(FirstLook& look, Begun begun) {
  for (bool told = false;;) {
    const auto speaks = look.at(reader_.buffered());
    if (speaks != FirstBytes::undecided) co_return speaks;
    if (!told && reader_.has_buffered()) {
      told = true;
      begun(SteadyClock::now() + proxy_.config.header_timeout);
    }
    if (co_await reader_.read_more() != ReadError::none) co_return speaks;
  }
}

Awaitable<Session::Then> Session::connect_tunnel(const CallState& call) {
  auto caller = identify_caller(call.head, false, proxy_.config.auth_token);
  if (!caller) co_return co_await give_problem(call, caller.error());
  auto url = authority(call.head.target);
  if (const auto refused = refuse_tunnel(call, url))
    co_return co_await give_problem(call, *refused);
  Tunnel tunnel{std::move(*url), std::move(*caller)};
  const bool opened = opens(tunnel.url.host, tunnel.url.port_number());
  constexpr std::string_view established = "HTTP/1.1 200 Connection established\r\n\r\n";

  // A blind tunnel reaches its upstream at once, so that a server may speak first.
  if (!opened && !proxy_.config.https.strict) {
    auto upstream =
        co_await worker_.pool.acquire(UpstreamAddress{tunnel.url}, UpstreamPool::Freshness::unused,
                                      SteadyClock::now() + proxy_.config.connect_timeout);
    if (!upstream)
      co_return co_await give_problem(
          call, problem::not_reached(upstream.error().reason, upstream.error().why));
    if (!co_await send(established)) co_return Then::close;
    co_return co_await blind_tunnel(std::move(tunnel), std::move(*upstream));
  }
  if (!co_await send(established)) co_return Then::close;
  stream_.expires_after(proxy_.config.idle_timeout);
  FirstLook look(proxy_.config.header_max);
  const auto speaks = co_await first_bytes(
      look, [this](SteadyClock::time_point until) { stream_.expires_at(until); });
  if (speaks == FirstBytes::http || (opened && speaks == FirstBytes::tls))
    co_return co_await enter(std::move(tunnel), speaks);
  end_tunnel(tunnel.url, speaks, opened);
  co_return Then::close;
}

// Nothing becomes blind because it is malformed: what is not understood where it had to be ends the
// tunnel.
void Session::end_tunnel(const Url& url, FirstBytes speaks, bool opened) const {
  if (speaks == FirstBytes::undecided) {
    if (reader_.has_buffered())
      log_tunnel(authority_of(url),
                 "ended: the client began a TLS or HTTP message and did not go on");
    return;
  }
  std::string why = "the client speaks neither TLS nor HTTP/1.1";
  if (speaks == FirstBytes::tls) why = "https.strict lets only plain HTTP through to this host";
  if (speaks == FirstBytes::http2) why = "the client speaks HTTP/2, which is not understood yet";
  if (speaks == FirstBytes::refused)
    why = "the client's ClientHello is malformed, or names no host";
  if (opened)
    why +=
        "; a host whose tunnels are opened takes nothing else (`https.never` lets it through "
        "unseen)";
  log_tunnel(authority_of(url), "ended: " + why);
}

// The upstream's bytes go to the client from the start. The client's first bytes may still show a
// call that is ours to guard: plain HTTP, or TLS that names an opened host (of a client that looks
// names up itself and connects to an address). Once the upstream has spoken it is too late for
// that.
Awaitable<Session::Then> Session::blind_tunnel(Tunnel tunnel, UpstreamConnectionPtr upstream) {
  using namespace asio::experimental::awaitable_operators;
  auto& server = upstream->stream;
  const auto port = tunnel.url.port_number();
  Lifetime life(stream_, server, proxy_.config.tunnel_idle_timeout);
  FirstLook look(proxy_.config.header_max);
  auto speaks = FirstBytes::undecided;
  bool spoken = false, stopped = false;

  const auto downwards = [&]() -> Awaitable<> {
    std::string first;
    {
      Buffer buffer;
      co_await server.read_some(buffer);
      first = buffer.rest();
    }
    if (stopped) co_return;
    spoken = true;
    co_await copy(server, stream_, std::move(first), life);
  };
  const auto upwards = [&]() -> Awaitable<> {
    speaks = co_await first_bytes(
        look, [&](SteadyClock::time_point until) { life.first_has_until(until); });
    const bool unnamed = !names_host(proxy_.config, under("http", tunnel.url.host, port)) &&
                         !names_host(proxy_.config, under("https", tunnel.url.host, port));
    // It has ended without a word, but may still listen. Who has only been silent may yet speak, so
    // that a tunnel in which nothing moves ends.
    const bool silent = speaks == FirstBytes::undecided && !reader_.has_buffered() &&
                        stream_.ended() == asio::error::eof;
    const bool blind = silent || speaks == FirstBytes::other ||
                       (speaks == FirstBytes::tls &&
                        (look.server_name().empty() || !opens(look.server_name(), port))) ||
                       (speaks == FirstBytes::http2 && unnamed);
    if (!blind) {
      stopped = true;
      server.close();
      co_return;
    }
    count_blind(tunnel.url);
    life.first_has_until(SteadyClock::time_point::max());
    co_await copy(stream_, server, reader_.take_buffered(), life);
  };
  co_await (downwards() && upwards());
  if (!stopped) co_return Then::close;
  if (spoken || (speaks != FirstBytes::http && speaks != FirstBytes::tls)) {
    end_tunnel(tunnel.url, speaks, false);
    co_return Then::close;
  }
  if (speaks == FirstBytes::tls) tunnel.url = under("https", look.server_name(), port);
  co_return co_await enter(std::move(tunnel), speaks);
}

void Session::count_blind(const Url& url) const {
  proxy_.metrics.count(CallStatus::passed);
  if (!proxy_.metrics.tunnels.blind(url.host)) return;
  log_tunnel(authority_of(url),
             "blind: its calls are neither seen nor guarded. To guard them, name the host in a "
             "route (match: "
             "\"POST https://" +
                 url.host +
                 "/**\"), or set `https: { open: all }`; `https: { strict: true }` "
                 "refuses such tunnels. (Told once a host; /api/stats counts them.)");
}

// From here on the client's calls are read in the clear; run() goes on with them.
Awaitable<Session::Then> Session::enter(Tunnel tunnel, FirstBytes speaks) {
  const bool tls = speaks == FirstBytes::tls;
  if (tls) proxy_.metrics.tunnels.opened(tunnel.url.host);
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
