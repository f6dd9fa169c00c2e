// The pass path: everything is streamed both ways, never buffered; nothing is recorded.
#include <boost/asio/experimental/awaitable_operators.hpp>

#include "proxy/http_exchange.h"
#include "proxy/pipeline.h"

namespace ledger {
namespace {

// Without any progress for so long, a passing call is given up.
constexpr std::chrono::minutes pass_patience{10};
constexpr std::size_t copied_max = 4'096;  // a larger piece costs less as a send of two parts

// Methods that are safe to repeat (RFC 9110 section 9.2.1): they alone may ride on any idle
// connection, and are sent once more when that connection turns out to be dead.
bool is_safe(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "TRACE";
}

void append_framing(std::string& out, const Head& head) {
  if (head.framing == Framing::length) append_field(out, "Content-Length", head.content_length);
  if (head.framing == Framing::chunked) append_field(out, "Transfer-Encoding", "chunked");
}

// The client broke its own body off, or framed it wrongly: that is not the destination's failure.
Problem half_a_body(ReadError error, const MessageReader& reader) {
  const bool malformed = error == ReadError::malformed;
  return problem::bad_request("The request's body is malformed (" +
                              (malformed ? reader.detail() : "it did not arrive whole") +
                              "); the destination got only its beginning.");
}

}  // namespace

SteadyClock::time_point Session::passing_deadline() const {
  return std::min(SteadyClock::now() + pass_patience, pass_until_);
}

// An idle connection; where this client has authenticated one as its own, that one.
UpstreamConnectionPtr Session::take_upstream(const CallState& call,
                                             UpstreamPool::Freshness freshness) {
  if (own_upstream_ && own_upstream_->origin == call.to->origin)
    if (auto own = std::move(own_upstream_); own->stream.idle_and_open()) {
      own->reused = true;
      return own;
    }
  return worker_.pool.take_idle(call.to->origin, freshness);
}

// NTLM needs several requests on one connection, so that a client's own one stays with its own
// connection to us. Not behind a mount: there a gateway may send many clients' calls on one.
void Session::give_upstream_back(const CallState& call, UpstreamConnectionPtr upstream) {
  if (!upstream->binds()) return worker_.pool.release(std::move(upstream));
  if (call.to->target.reverse) return;
  upstream->stream.expires_never();
  upstream->reader.shrink();
  own_upstream_ = std::move(upstream);
}

// `body`: the whole body, where it was read already; the head still frames it.
Awaitable<Session::Then> Session::pass(const CallState& call, std::string_view body) {
  // A small body that is here with its head goes out with it, in one piece.
  if (!reader_.body_done() && call.head.framing == Framing::length &&
      call.head.content_length <= std::min(reader_.buffered().size(), piece_max)) {
    reader_.piece_now(body);
    body_ = body;
    body = body_;
    reader_.shrink();
  }
  const auto& policy = *call.to->policy;
  pass_until_ = SteadyClock::time_point::max();
  if (!policy.guarded && policy.timeout > Duration::zero())
    pass_until_ = SteadyClock::now() + policy.timeout;
  const bool safe = is_safe(call.head.method) &&
                    (call.head.method_override.empty() || is_safe(call.head.method_override));
  const auto freshness = safe ? UpstreamPool::Freshness::any : UpstreamPool::Freshness::guarded;
  for (bool retry = safe && reader_.body_done();;) {
    auto upstream = take_upstream(call, freshness);
    if (!upstream) {
      const UpstreamAddress to = call.to->target.address();
      auto opened = co_await worker_.pool.acquire(
          to, freshness, std::min(SteadyClock::now() + proxy_.config.connect_timeout, pass_until_));
      if (!opened) {
        auto problem = problem::not_reached(opened.error().reason, opened.error().why);
        problem.ledger_status = to_string(CallStatus::passed);
        co_return co_await give_problem(call, problem);
      }
      upstream = std::move(*opened);
    }
    retry = retry && upstream->reused;
    upstream->bound_to_caller = upstream->bound_to_caller || call.head.binds_connection;
    const auto then = co_await exchange_passing(call, *upstream, body, retry);
    if (retry) continue;  // the idle connection was dead, and nothing has been answered
    auto& reader = upstream->reader;
    if (then == Then::next && reader.body_done() && reader.head().keep_alive &&
        !reader.has_buffered())
      give_upstream_back(call, std::move(upstream));
    co_return then;
  }
}

// One exchange over `upstream`. `retry` comes back true where it may be made again on another one.
Awaitable<Session::Then> Session::exchange_passing(const CallState& call,
                                                   UpstreamConnection& upstream,
                                                   std::string_view body_read, bool& retry) {
  auto& first = request_out_;
  first.clear();
  const auto& target = call.to->target;
  append_forwarded_request(first, call.head,
                           {&target.url, proxy_.via, client_address_, target.reverse, {}, nullptr});
  if (call.head.upgrade) {
    append_field(first, "Connection", "upgrade");
    append_field(first, "Upgrade", "websocket");
  }
  const bool whole = reader_.body_done();
  if (whole && call.head.framing == Framing::chunked)
    append_field(first, "Content-Length", body_read.size());
  else
    append_framing(first, call.head);
  if (call.head.expect_continue && !whole) append_field(first, "Expect", "100-continue");
  first += "\r\n";
  first += body_read;
  if (!whole) {
    retry = false;
    co_return co_await exchange_streaming(call, upstream);
  }
  Stream::Buffers out{asio::buffer(first)};
  if (!upstream.stream.write_now(out)) {
    upstream.stream.expires_at(passing_deadline());
    if ((co_await upstream.stream.write(out)).error && retry) co_return Then::close;
  }
  co_return co_await relay_response(call, upstream, retry);
}

// A body that is on its way goes along while the answer comes back.
Awaitable<Session::Then> Session::exchange_streaming(const CallState& call,
                                                     UpstreamConnection& upstream) {
  using namespace asio::experimental::awaitable_operators;
  bool failed = false, retry = false;
  Then then = Then::close;
  const auto relay_and_end = [&]() -> Awaitable<> {
    then = co_await relay_response(call, upstream, retry);
    // The answer is complete; a body that is still coming has nowhere to go.
    if (!reader_.body_done()) stream_.close();
  };
  co_await (relay_and_end() && pump_request(upstream, failed));
  co_return failed || !reader_.body_done() ? Then::close : then;
}

// The client's body, piece by piece, in the framing it came in. `request_out_` holds the head.
Awaitable<> Session::pump_request(UpstreamConnection& upstream, bool& failed) {
  auto& out = request_out_;
  const bool chunked = reader_.head().framing == Framing::chunked;
  // The head goes first: a client that expects 100 sends nothing before the upstream has said so.
  bool more = true;
  if (!reader_.body_ready()) {
    upstream.stream.expires_at(passing_deadline());
    if ((co_await upstream.stream.write(asio::buffer(out))).error) co_return;
    out.clear();
  }
  while (more) {
    std::string_view piece;
    stream_.expires_after(pass_patience);
    body_error_ = co_await reader_.read_piece(piece, piece_max);
    if (body_error_ != ReadError::none) {
      // Half a body must not look like a whole one upstream.
      failed = true;
      upstream.stream.close();
      co_return;
    }
    more = !reader_.body_done();
    if (chunked)
      append_chunk(out, piece);
    else
      out += piece;
    if (chunked && !more) append_last_chunk(out);
    upstream.stream.expires_at(passing_deadline());
    // An upstream that stopped reading may have answered: relay_response finds out.
    if ((co_await upstream.stream.write(asio::buffer(out))).error) co_return;
    out.clear();
  }
}

Awaitable<Session::Then> Session::relay_response(const CallState& call,
                                                 UpstreamConnection& upstream, bool& retry) {
  auto& reader = upstream.reader;
  auto& out = out_;
  for (;;) {
    upstream.stream.expires_at(passing_deadline());
    const auto error = co_await reader.read_head(call.to_head);
    if (error != ReadError::none) {
      retry = retry && (error == ReadError::closed || error == ReadError::truncated);
      if (retry) co_return Then::close;
      unread_ = unread_ || !reader_.body_done();
      if (body_error_ != ReadError::none)
        co_return co_await give_problem(call, half_a_body(body_error_, reader_));
      co_return co_await give_problem(
          call, problem::upstream_failed(describe(error, reader), error == ReadError::timed_out));
    }
    retry = false;
    const auto& head = reader.head();
    if (head.status / 100 != 1 || head.status == 101) break;
    if (call.head.version == 10) continue;  // 1.0 knows no interim answers
    out.clear();
    append_status_line(out, head.status, head.reason);
    for (const auto& f : head.fields) append_field(out, f.name, f.value);
    out += "\r\n";
    if (!co_await send(out)) co_return Then::close;
  }

  const auto& head = reader.head();
  const bool switching = head.status == 101;
  if (switching && !(call.head.upgrade && head.upgrade)) {
    // What comes next on either connection is not what the other one takes it for.
    upstream.stream.close();
    unread_ = unread_ || !reader_.body_done();
    co_return co_await give_problem(
        call, problem::upstream_failed(
                  "the destination switched to a protocol that nobody asked for", false));
  }
  const bool chunked = head.framing == Framing::chunked || head.framing == Framing::until_close;
  const bool delimited = !chunked || call.head.version == 11;
  const bool keep =
      call.head.keep_alive && delimited && !switching && reader_.body_done() && !proxy_.draining;
  proxy_.metrics.count(CallStatus::passed);

  out.clear();
  append_status_line(out, head.status, head.reason);
  append_answer_fields(out, head);
  if (chunked && call.head.version == 11) append_field(out, "Transfer-Encoding", "chunked");
  append_ledger_fields(out, {CallStatus::passed, {}, call.route(), 0});
  append_via(out, {}, 11, proxy_.via);
  if (switching) {
    append_field(out, "Connection", "upgrade");
    append_field(out, "Upgrade", "websocket");
    out += "\r\n";
    if (!co_await send(out)) co_return Then::close;
    co_await relay(stream_, upstream.stream, reader_.take_buffered(), reader.take_buffered(),
                   proxy_.config.tunnel_idle_timeout);
    co_return Then::close;
  }
  append_connection(out, call.head.version, keep);
  out += "\r\n";
  const auto then = co_await relay_body(upstream);
  co_return keep ? then : Then::close;
}

// The upstream's body, piece by piece. `out_` holds the head, which leaves with the first piece if
// that is here already; small pieces that are here leave together.
Awaitable<Session::Then> Session::relay_body(UpstreamConnection& upstream) {
  auto& reader = upstream.reader;
  auto& out = out_;
  const bool chunked = (reader.head().framing == Framing::chunked ||
                        reader.head().framing == Framing::until_close) &&
                       reader_.head().version == 11;
  while (!out.empty() || !reader.body_done()) {
    std::string_view piece;
    if (!reader.body_done() && (out.empty() || reader.body_ready())) {
      auto error = reader.piece_now(piece, piece_max);
      if (!error) {
        upstream.stream.expires_at(passing_deadline());
        error = co_await reader.read_piece(piece, piece_max);
      }
      if (*error != ReadError::none) {
        stream_.close();  // broken off here as it was there, never completed
        co_return Then::close;
      }
      const bool copied = chunked || piece.size() <= copied_max;
      if (chunked)
        append_chunk(out, piece);
      else if (copied)
        out += piece;
      if (chunked && reader.body_done()) append_last_chunk(out);
      if (copied) piece = {};
      if (copied && !reader.body_done() && reader.body_ready() && out.size() < piece_max) continue;
    }
    // A larger piece from the buffer it was read into.
    Stream::Buffers left{asio::buffer(out), asio::buffer(piece)};
    if (!stream_.write_now(left)) {
      stream_.expires_after(proxy_.config.header_timeout);
      if ((co_await stream_.write(left)).error) co_return Then::close;
    }
    out.clear();
  }
  co_return Then::next;
}

}  // namespace ledger
