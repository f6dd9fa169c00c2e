// A call's way through, one function a step:
//
//   accept -> read -> match -> identify -> claim -> forward -> settle -> reply
//   server    call    call     guarded_call -----> Guard::admit, Execution    replies.cc
//                      `-> pass (pass.cc)
//
// docs/ARCHITECTURE.md has the same as a chart, with what each step does when it fails.
#include "proxy/pipeline.h"

#include "guard/crash_point.h"
#include "proxy/body_key.h"
#include "proxy/http_exchange.h"
#include "proxy/probe.h"

namespace ledger {
namespace {

constexpr std::size_t text_keep_max = 8'192, asked_keep_max = 2'048;  // between two calls
// What is longer (or packed, so that nobody knows) is read through on a thread of its own.
constexpr std::size_t light_max = 65'536;
// A body that comes in drops holds its memory no longer than so many header_timeouts, and a second
// for each so many bytes.
constexpr int drops_max = 4;
constexpr std::size_t slow_bytes = 16'384;
constexpr std::size_t ahead = 65'536;  // room for the next piece of a chunked body

// Counts one call while it is being answered, so that a drain can wait for it.
class Busy {
 public:
  explicit Busy(std::atomic<int>& count) : count_(count) { count_.fetch_add(1); }
  ~Busy() { count_.fetch_sub(1); }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  std::atomic<int>& count_;
};

Problem problem_of(ReadError error, const MessageReader& reader, std::size_t head_max) {
  if (error == ReadError::head_too_large) return problem::header_too_large(head_max);
  if (error == ReadError::timed_out) return problem::request_timeout();
  if (error == ReadError::not_implemented)
    return problem::not_implemented(
        "The request has " + reader.detail() +
        "; nothing was sent. Send it with a Content-Length, or chunked.");
  return problem::bad_request("The request is malformed (" + reader.detail() +
                              "); nothing was sent.");
}

bool silent(ReadError error) { return error == ReadError::closed || error == ReadError::truncated; }

// What the record keeps of the request: all of it where it may be sent again, and what to ask.
StoredRequestPtr request_to_keep(const Head& head, const Url& url, const std::string& body,
                                 const Policy& policy, std::string probe) {
  if (policy.upstream_key.empty() && probe.empty()) return nullptr;
  auto kept = std::make_shared<StoredRequest>();
  kept->probe = std::move(probe);
  if (policy.upstream_key.empty()) return kept;
  kept->target = url.to_string();
  kept->content_type = head.get("Content-Type");
  kept->content_encoding = head.get("Content-Encoding");
  kept->body = body;
  return kept;
}

bool sends_body(std::string_view method) {
  return method != "GET" && method != "HEAD" && method != "DELETE" && method != "OPTIONS" &&
         method != "TRACE";
}

// The request of a claim as it goes out. A retry sends the target, body and media type that the
// first send had, with this caller's other fields; the upstream key is the same for both.
OutgoingRequest outgoing(const Head& head, Forwarding how, bool insecure, const Policy& policy,
                         const Record& claimed, std::shared_ptr<const std::string> body) {
  const auto* const retried =
      claimed.request && !claimed.request->target.empty() ? claimed.request.get() : nullptr;
  OutgoingRequest out;
  out.url = *how.url;
  out.insecure = insecure;
  out.configured = how.reverse;
  out.body = std::move(body);
  out.to_head = head.method == "HEAD";
  out.binds = head.binds_connection;
  const auto& place = policy.upstream_key;
  const bool in_body = is_in_body(place);
  if (!in_body) how.drop = place;
  if (retried) {
    if (auto url = parse_url(retried->target)) out.url = std::move(*url);
    out.body = std::shared_ptr<const std::string>(claimed.request, &retried->body);
    how.stored = retried;
  }
  const auto key = place.empty() ? std::string() : upstream_key(claimed);
  if (in_body)  // that there is a place for it was seen before the claim
    out.body = std::make_shared<const std::string>(*with_body_key(place, head, *out.body, key));
  how.url = &out.url;
  out.head.reserve(1024);  // most heads fit
  append_forwarded_request(out.head, head, how);
  if (!out.body->empty() || sends_body(head.method))
    append_field(out.head, "Content-Length", out.body->size());
  if (!key.empty() && !in_body) append_field(out.head, place, key);
  out.head += "\r\n";
  return out;
}

// What a guarded call is, all that takes reading its body through.
struct Meaning {
  bool passes = false;             // JSON-RPC that calls nothing, or what only reads
  std::optional<Problem> refused;  // why it is not claimed
  Identity identity{};
  std::string probe{};  // the URL that tells whether it happened
};

Meaning meaning_of(const Call& call, const Head& head, const std::string& body,
                   const Policy& policy, std::string_view route, const Captures& captures,
                   std::string_view secret) {
  Meaning meaning;
  // A body says nothing of a call that a header makes another method's.
  const bool renamed = !head.method_override.empty() && head.method_override != head.method;
  meaning.passes = !renamed && is_unguarded_json_rpc(call);
  if (meaning.passes) return meaning;
  if (is_in_body(policy.upstream_key) && !with_body_key(policy.upstream_key, head, body, "")) {
    meaning.refused = problem::key_missing(
        "The route's `upstream_key` is a field of the body (" + policy.upstream_key +
        "), and this body has no place for it; nothing was sent.");
    return meaning;
  }
  auto identity = identify(call, policy.identity, route, captures, secret);
  if (!identity) {
    const auto& e = identity.error();
    const bool missing = e.slug == "key-missing";
    meaning.refused = missing ? problem::key_missing(e.detail) : problem::bad_request(e.detail);
    return meaning;
  }
  meaning.passes = !renamed && policy.reads_pass && !identity->explicit_key() && is_read(call);
  meaning.identity = std::move(*identity);
  if (policy.probe) meaning.probe = probe_url(*policy.probe, call, policy.identity, captures);
  return meaning;
}

bool is_light(const Call& call) {
  return call.body.size() <= light_max &&
         std::none_of(call.headers.begin(), call.headers.end(),
                      [](const auto& h) { return iequals(h.name, "Content-Encoding"); });
}

}  // namespace

// A guarded call's body, and its part of what all of them may hold.
struct Session::GuardedBody {
  explicit GuardedBody(MemoryBudget& budget) : share(budget) {}
  std::string text;
  MemoryBudget::Share share;
};

Awaitable<> Session::run() {
  for (;;) {
    slim();
    stream_.expires_after(proxy_.config.idle_timeout);
    if (co_await reader_.wait_for_bytes() != ReadError::none) {
      if (tunnel_) log_silent_end();
      co_return;
    }
    const auto then = co_await call();
    if (then == Then::close || proxy_.draining) break;
  }
  if (unread_) co_await linger();
}

// An idle connection is small.
void Session::slim() {
  for (auto* const text : {&out_, &request_out_, &body_})
    if (text->capacity() > text_keep_max) std::string().swap(*text);
  if (destination_ && destination_->asked.size() > asked_keep_max) destination_.reset();
}

// read -> match; `pass` leaves the pipeline here.
Awaitable<Session::Then> Session::call() {
  auto error = reader_.head_now();
  if (!error) {
    stream_.expires_after(proxy_.config.header_timeout);
    error = co_await reader_.read_head();
  }
  if (silent(*error)) co_return Then::close;
  CallState call{reader_.head()};
  if (*error != ReadError::none) {
    unread_ = true;
    co_await give_problem(call, problem_of(*error, reader_, proxy_.config.header_max));
    co_return Then::close;
  }
  call.to_head = call.head.method == "HEAD";
  if (call.head.method == "CONNECT") {
    if (!listener_.upstream) co_return co_await connect_tunnel(call);
    co_return co_await give_problem(
        call, problem::host_not_allowed("This listener is " + listener_.upstream->origin() +
                                        " alone, and opens no tunnels; the proxy is at " +
                                        proxy_.listeners.front().listen.to_string()));
  }
  if (const auto refused = match(call)) co_return co_await give_problem(call, *refused);
  const bool guarded = call.to->policy->guarded;
  const Busy busy(guarded ? proxy_.guarded_calls : proxy_.passing_calls);
  if (guarded) co_return co_await guarded_call(call);
  co_return co_await pass(call, {});
}

// Where the call goes, who makes it, and by which policy; or why it goes nowhere.
std::optional<Problem> Session::match(CallState& call) {
  const auto& head = call.head;
  if (proxy_.draining) return problem::draining();
  if (has_passed_here(head, proxy_.via)) return problem::loop_detected();
  if (!destination_ || !destination_->is_of(head)) {
    auto target =
        tunnel_ ? find_target(head, *tunnel_) : find_target(head, listener_, proxy_.config);
    if (!target) return target.error();
    destination_ =
        Destination{std::string(head.method), std::string(head.method_override),
                    std::string(head.target), std::string(head.host), std::move(*target)};
  }
  auto& to = *destination_;
  if (to.target.reverse)
    if (auto refused = refuse_page(head, listener_, proxy_.config)) return refused;
  const bool in_opened_tunnel = tunnel_ && tunnel_->url.scheme == "https";
  auto caller = tunnel_ ? identify_caller(head, *tunnel_)
                        : identify_caller(head, to.target.reverse, proxy_.config.auth_token);
  if (!caller) return caller.error();
  call.caller = std::move(*caller);
  if (to.policy == nullptr) {
    const auto& url = to.target.url;
    if (const auto refused = proxy_.reach->refuses(url, to.target.reverse))
      return problem::not_reached(refused->reason, refused->why);
    const bool unnamed_pass = in_opened_tunnel && !guards_unnamed(proxy_.config, url);
    auto matched = match_call(proxy_.config.routes, proxy_.config.defaults,
                              {head.method, head.method_override}, url, unnamed_pass);
    if (!matched) return problem::bad_request(std::move(matched.error()));
    to.origin = UpstreamPool::key(to.target.address());
    to.matched = std::move(*matched);
    to.policy = &proxy_.with_upstream_key(*to.matched.policy, to.target.upstream_key);
  }
  if (in_opened_tunnel && to.matched.route == nullptr && !to.policy->guarded)
    proxy_.metrics.tunnels.passed(to.target.url.host);
  call.to = &to;
  return std::nullopt;
}

// identify -> claim -> (forward -> settle, in an execution of their own) -> reply.
Awaitable<Session::Then> Session::guarded_call(CallState& call) {
  auto body = std::make_shared<GuardedBody>(proxy_.guard.memory());
  if (auto refused = co_await read_body(call, *body))
    co_return co_await give_problem(call, *refused);

  const auto& policy = *call.to->policy;
  const auto& url = call.to->target.url;
  const Call described{
      call.head.method, &url,           call.head.fields, body->text, call.caller.agent,
      call.caller.run,  policy.body_max};
  const auto read_through = [&] {
    return meaning_of(described, call.head, body->text, policy, call.route(),
                      call.to->matched.captures, proxy_.secret);
  };
  Meaning meaning;
  if (is_light(described)) {
    meaning = read_through();
  } else {
    auto read =
        co_await proxy_.aside.run(read_through, SteadyClock::now() + proxy_.config.header_timeout);
    if (!read) co_return co_await give_problem(call, problem::many_bodies());
    meaning = std::move(*read);
  }
  if (meaning.passes) co_return co_await pass(call, body->text);
  if (meaning.refused) co_return co_await give_problem(call, *meaning.refused);
  const auto& identity = meaning.identity;
  if (pasted_id(identity) && co_await proxy_.guard.is_record_id(identity))
    co_return co_await give_problem(call, problem::key_is_record());
  call.record = to_hex(identity.id);

  const auto url_text = url.to_string();
  const GuardedCall guarded{
      identity,
      policy,
      call.route(),
      call.head.method,
      url_text,
      call.caller.agent,
      call.caller.run,
      request_to_keep(call.head, url, body->text, policy, std::move(meaning.probe)),
      policy.probe ? GuardedCall::Ask([&](const Record& record) { return probe(call, record); })
                   : GuardedCall::Ask()};
  auto admission = proxy_.guard.recalled(guarded);
  if (!admission) admission = co_await admit(call, guarded, body);
  body.reset();

  if (auto* led = std::get_if<Led>(&*admission)) {
    const auto then = co_await give_execution(call, std::move(*led));
    crash_point("replied");
    co_return then;
  }
  if (auto* given = std::get_if<Given>(&*admission)) {
    if (given->answer->body.size() > piece_max)
      co_return co_await give_long_again(call, std::move(*given), identity.id);
    co_return co_await give_answer(call, *given->answer, given->status, given->attempt);
  }
  const auto& refused = std::get<Refused>(*admission);
  co_return co_await give_problem(call, refused.problem, refused.attempt);
}

// claim -> forward -> settle, or what another call's record says.
Awaitable<Admission> Session::admit(const CallState& call, const GuardedCall& guarded,
                                    std::shared_ptr<GuardedBody> body) {
  const auto& policy = *call.to->policy;
  const Forwarding how{
      &call.to->target.url, proxy_.via, client_address_, call.to->target.reverse, {}};
  const Guard::MakeExchange make_exchange =
      [&](const Record& claimed) -> std::unique_ptr<Exchange> {
    return std::make_unique<HttpExchange>(
        worker_.pool, outgoing(call.head, how, call.to->target.insecure, policy, claimed,
                               std::shared_ptr<const std::string>(body, &body->text)));
  };
  co_return co_await proxy_.guard.admit(guarded, make_exchange);
}

// Waits for room for `bytes` more of a body. nullopt: it is there.
Awaitable<std::optional<Problem>> Session::make_room(const CallState& call, GuardedBody& body,
                                                     std::size_t bytes) {
  const auto& memory = proxy_.guard.memory();
  const auto until = SteadyClock::now() + proxy_.config.header_timeout;
  if (co_await body.share.take(bytes, until)) co_return std::nullopt;
  unread_ = true;
  if (!memory.holds(body.share.bytes() + bytes))
    co_return problem::body_too_large(std::min(call.to->policy->body_max, memory.most()));
  co_return problem::memory_full();
}

// Reads a guarded call's whole body, up to the route's body_max. Nothing is claimed before it is
// here.
Awaitable<std::optional<Problem>> Session::read_body(const CallState& call, GuardedBody& body) {
  const auto max = call.to->policy->body_max;
  const bool chunked = call.head.framing == Framing::chunked;
  if (call.head.framing == Framing::length) {
    if (call.head.content_length > max) {
      unread_ = true;
      co_return problem::body_too_large(max);
    }
    if (!body.share.try_take(call.head.content_length))
      if (auto full = co_await make_room(call, body, call.head.content_length)) co_return full;
    body.text.reserve(call.head.content_length);
  }
  if (call.head.expect_continue && !reader_.body_ready())
    if (!co_await send("HTTP/1.1 100 Continue\r\n\r\n")) {
      unread_ = true;
      co_return problem::bad_request("The connection ended before the body.");
    }
  // What came with the head needs no waiting.
  if (std::string_view piece; !chunked && reader_.piece_now(piece)) {
    body.text += piece;
    if (!reader_.has_buffered()) reader_.shrink();
  }
  const auto patience = proxy_.config.header_timeout;
  const auto last = SteadyClock::now() + drops_max * patience;
  while (!reader_.body_done()) {
    if (chunked && body.text.size() + ahead > body.share.bytes() && !body.share.try_take(ahead))
      if (auto full = co_await make_room(call, body, ahead)) co_return full;
    const auto drops = std::chrono::seconds(body.text.size() / slow_bytes);
    stream_.expires_at(std::min(SteadyClock::now() + patience, last + drops));
    const auto error = co_await reader_.read_body(body.text);
    if (error != ReadError::none) {
      unread_ = true;
      if (silent(error)) co_return problem::bad_request("The connection ended inside the body.");
      co_return problem_of(error, reader_, proxy_.config.header_max);
    }
    if (body.text.size() > max) {
      unread_ = true;
      co_return problem::body_too_large(max);
    }
  }
  body.share.resize(body.text.size());
  co_return std::nullopt;
}

}  // namespace ledger
