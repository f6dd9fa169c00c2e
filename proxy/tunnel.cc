// CONNECT, and the byte-for-byte relay that tunnels and upgraded connections share.
#include <boost/asio/experimental/awaitable_operators.hpp>

#include "proxy/pipeline.h"

namespace ledger {
namespace {

// One direction, to its end; the end is passed on as a half-close. A failure ends both directions.
Awaitable<> copy(Stream& from, Stream& to, std::string first) {
  if (!first.empty() && (co_await to.write(asio::buffer(first))).error) {
    from.close();
    co_return;
  }
  std::string buffer(64 * 1024, '\0');
  for (;;) {
    const auto got = co_await from.read_some(asio::buffer(buffer));
    if (got.bytes == 0 || got.error) {
      if (got.error == asio::error::eof)
        co_await to.shutdown_send();
      else
        to.close();
      co_return;
    }
    if ((co_await to.write(asio::buffer(buffer.data(), got.bytes))).error) {
      from.close();
      co_return;
    }
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

}  // namespace

Awaitable<> relay(Stream& a, Stream& b, std::string first_from_a, std::string first_from_b) {
  using namespace asio::experimental::awaitable_operators;
  a.expires_never();
  b.expires_never();
  co_await (copy(a, b, std::move(first_from_a)) && copy(b, a, std::move(first_from_b)));
}

// A blind tunnel. A host that an https route names is refused: passing it through unseen would
// break the route's promise silently.
Awaitable<Session::Then> Session::connect_tunnel(CallState& call) {
  auto caller = identify_caller(call.head, false, proxy_.config.auth_token);
  if (!caller) co_return co_await give_problem(call, caller.error());
  if (proxy_.draining) co_return co_await give_problem(call, problem::draining());
  const auto url = authority(call.head.target);
  if (!url)
    co_return co_await give_problem(
        call, problem::bad_request("CONNECT takes HOST:PORT, such as api.example.com:443."));
  if (is_loop(call.head, *url, proxy_.own, proxy_.via))
    co_return co_await give_problem(call, problem::loop_detected());
  for (const auto& route : proxy_.config.routes)
    if (route.pattern.opens(url->host, url->port_number()))
      co_return co_await give_problem(
          call, problem::not_implemented(
                    "Route `" + route.name +
                    "` guards this host over https, which this version cannot open inside "
                    "CONNECT; nothing was sent. Use a mount (`mounts:`) for it."));

  auto upstream = co_await worker_.pool.acquire(*url, UpstreamPool::Freshness::unused,
                                                SteadyClock::now() + proxy_.config.connect_timeout);
  if (!upstream)
    co_return co_await give_problem(call, problem::upstream_unreachable(upstream.error().why));
  if (!co_await send("HTTP/1.1 200 Connection established\r\n\r\n")) co_return Then::close;
  proxy_.metrics.count(CallStatus::passed);
  co_await relay(stream_, (*upstream)->stream, reader_.take_buffered(), {});
  co_return Then::close;
}

}  // namespace ledger
