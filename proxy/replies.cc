// reply: how each kind of answer is written to the client.
#include <boost/asio/this_coro.hpp>

#include "fingerprint/body.h"
#include "proxy/pipeline.h"

namespace ledger {
namespace {

// One piece of an answer.
constexpr std::size_t piece_max = 64 * 1024;

// An answer that would decode to more is given as it was recorded.
constexpr std::size_t decoded_max = 256 * 1024 * 1024;

bool has_no_body(int status) { return status / 100 == 1 || status == 204 || status == 304; }

// Has the outcome a whole answer (and so an end that may be given)?
bool is_whole(const Outcome& outcome) {
  if (const auto* unknown = std::get_if<Unknown>(&outcome)) return unknown->answer != nullptr;
  return !std::holds_alternative<NotSent>(outcome);
}

// Stripe's, OpenAI's and Anthropic's SDKs obey these.
constexpr std::string_view retry_fields[] = {"x-should-retry", "stripe-should-retry"};

bool is_retry_field(std::string_view name) {
  return std::any_of(std::begin(retry_fields), std::end(retry_fields),
                     [&](auto field) { return iequals(field, name); });
}

void append_no_retry(std::string& out) {
  for (const auto field : retry_fields) append_field(out, field, "false");
}

// An answer that leaves a doubt goes out as it came, but says so, to machines too.
void append_doubt(std::string& out) {
  append_no_retry(out);
  append_field(out, "Ledger-Advice", "ask_a_person");
}

AnswerPtr answer_of(const Outcome& outcome) {
  if (const auto* o = std::get_if<Answered>(&outcome)) return o->answer;
  if (const auto* o = std::get_if<Rejected>(&outcome)) return o->answer;
  if (const auto* o = std::get_if<Unknown>(&outcome)) return o->answer;
  return nullptr;
}

}  // namespace

// A client that takes nothing for so long is given up, and what it asked for goes on without it;
// one that is only slow gets everything, so the time counts for each piece.
Awaitable<bool> Session::send(std::string_view bytes) {
  do {
    const auto piece = bytes.substr(0, piece_max);
    bytes.remove_prefix(piece.size());
    stream_.expires_after(proxy_.config.header_timeout);
    if ((co_await stream_.write(asio::buffer(piece.data(), piece.size()))).error) co_return false;
  } while (!bytes.empty());
  co_return true;
}

Awaitable<Session::Then> Session::give_problem(const CallState& call, const Problem& problem,
                                               std::uint64_t attempt) {
  const bool keep = call.head.keep_alive && !unread_ && reader_.body_done() && !proxy_.draining;
  auto status = CallStatus::refused;
  for (std::size_t i = 0; i < call_status_names.size(); ++i)
    if (call_status_names[i] == problem.ledger_status) status = static_cast<CallStatus>(i);
  proxy_.metrics.count(status);

  const auto body = problem_json(problem, call.record, call.route());
  out_.clear();
  append_status_line(out_, problem.status, "");
  append_field(out_, "Content-Type", "application/problem+json");
  append_field(out_, "Content-Length", body.size());
  append_ledger_fields(out_, {status, call.record, call.route(), attempt});
  append_via(out_, {}, 11, proxy_.via);
  if (problem.retry_after_s)
    append_field(out_, "Retry-After", static_cast<std::uint64_t>(*problem.retry_after_s));
  if (problem.status == 407) append_field(out_, "Proxy-Authenticate", "Basic realm=\"ledger\"");
  if (problem.status == 401) append_field(out_, "WWW-Authenticate", "Ledger-Token");
  if (!problem.safe_to_retry) append_no_retry(out_);
  append_connection(out_, call.head.version, keep);
  out_ += "\r\n";
  if (!call.to_head) out_ += body;
  if (!reader_.body_done()) unread_ = true;
  const bool sent = co_await send(out_);
  co_return sent&& keep ? Then::next : Then::close;
}

// A whole answer: recorded earlier (replayed, joined, in doubt) or just now (executed).
Awaitable<Session::Then> Session::give_answer(const CallState& call, const Answer& answer,
                                              CallStatus status, std::uint64_t attempt) {
  const bool first = status == CallStatus::executed;
  const bool keep = call.head.keep_alive && !proxy_.draining;
  const bool doubt =
      status == CallStatus::in_doubt ||
      (status != CallStatus::replayed &&
       verdict_of(answer.status, answer.headers, *call.to->policy) == Verdict::in_doubt);
  proxy_.metrics.count(status);

  // The first caller negotiated the coding; another one may not understand it.
  std::optional<std::string> decoded;
  if (!first)
    for (const auto& [name, value] : answer.headers)
      if (iequals(name, "Content-Encoding") && !accepts_coding(call.head, value))
        decoded = inflate_content(value, answer.body, decoded_max);
  const auto& body = decoded ? *decoded : answer.body;

  out_.clear();
  append_status_line(out_, answer.status, answer.reason);
  for (const auto& [name, value] : answer.headers) {
    if (!first && only_for_first_caller(name)) continue;
    if (!first && iequals(name, "Age")) continue;
    if (decoded && iequals(name, "Content-Encoding")) continue;
    if (doubt && is_retry_field(name)) continue;
    if (iequals(name, "Content-Length") && !call.to_head && answer.status != 304) continue;
    append_field(out_, name, value);
  }
  const bool bodyless = call.to_head || has_no_body(answer.status);
  if (!bodyless) append_field(out_, "Content-Length", body.size());
  append_ledger_fields(out_, {status, call.record, call.route(), attempt});
  if (doubt) append_doubt(out_);
  if (status == CallStatus::replayed || status == CallStatus::in_doubt) {
    const auto age =
        std::chrono::duration_cast<std::chrono::seconds>(proxy_.guard.now() - answer.received_at);
    append_field(out_, "Idempotent-Replayed", "true");
    append_field(out_, "Age", static_cast<std::uint64_t>(std::max<std::int64_t>(age.count(), 0)));
  }
  append_via(out_, {}, 11, proxy_.via);
  append_connection(out_, call.head.version, keep);
  out_ += "\r\n";
  if (!bodyless) out_ += body;
  const bool sent = co_await send(out_);
  co_return sent&& keep ? Then::next : Then::close;
}

// The leader's answer: streamed while it is recorded, or in one piece if it is here already.
Awaitable<Session::Then> Session::give_execution(const CallState& call, Led led) {
  auto& execution = *led.execution;
  struct Detach {
    Execution& execution;
    ~Detach() { execution.detach(); }
  } detach{execution};

  while (!execution.settled() && !(execution.head() && execution.streaming()))
    co_await execution.changed().wait();
  if (execution.settled()) {
    const auto& outcome = *execution.settled();
    const auto status = to_string(execution.sent() ? CallStatus::executed : CallStatus::unsent);
    if (const auto answer = answer_of(outcome); answer && answer->body_stored)
      co_return co_await give_answer(call, *answer, CallStatus::executed, led.attempt);
    if (const auto* not_sent = std::get_if<NotSent>(&outcome)) {
      auto problem = problem::not_reached(not_sent->reason, not_sent->why);
      problem.state = execution.record().state;
      problem.ledger_status = status;
      co_return co_await give_problem(call, problem, led.attempt);
    }
    if (const auto* unknown = std::get_if<Unknown>(&outcome); unknown && !unknown->answer) {
      auto problem = problem::outcome_unknown(unknown->why, unknown->timed_out);
      problem.ledger_status = status;
      co_return co_await give_problem(call, problem, led.attempt);
    }
  }
  co_return co_await stream_execution(call, execution, led.attempt);
}

// The last byte (of a chunked answer the last chunk) is given only when the record is durable. An
// answer that breaks is broken off here too, never completed.
Awaitable<Session::Then> Session::stream_execution(const CallState& call, Execution& execution,
                                                   std::uint64_t attempt) {
  const auto& head = *execution.head();
  const bool chunked = !head.length && call.head.version == 11;
  const bool keep = call.head.keep_alive && (head.length || chunked) && !proxy_.draining;
  const bool doubt = verdict_of(head.status, head.headers, *call.to->policy) == Verdict::in_doubt;
  proxy_.metrics.count(CallStatus::executed);

  out_.clear();
  append_status_line(out_, head.status, head.reason);
  for (const auto& [name, value] : head.headers)
    if (!doubt || !is_retry_field(name)) append_field(out_, name, value);
  if (head.length) append_field(out_, "Content-Length", *head.length);
  if (chunked) append_field(out_, "Transfer-Encoding", "chunked");
  append_ledger_fields(out_, {CallStatus::executed, call.record, call.route(), attempt});
  if (doubt) append_doubt(out_);
  append_via(out_, {}, 11, proxy_.via);
  append_connection(out_, call.head.version, keep);
  out_ += "\r\n";

  std::uint64_t given = 0;
  for (;;) {
    const bool durable = execution.settled() && is_whole(*execution.settled());
    if (execution.settled() && !durable) {
      stream_.close();
      co_return Then::close;
    }
    auto piece = execution.body(given).substr(0, piece_max);
    const bool to_the_end = given + piece.size() == execution.received();
    // With a length, the last byte itself is what completes the answer.
    if (head.length && !durable && to_the_end && execution.received() == *head.length &&
        !piece.empty())
      piece.remove_suffix(1);
    if (!head.length && !chunked && !durable && to_the_end && !piece.empty())
      piece.remove_suffix(1);
    given += piece.size();
    if (chunked)
      append_chunk(out_, piece);
    else
      out_ += piece;
    const bool done = durable && given == execution.received();
    if (done && chunked) append_last_chunk(out_);
    if (!out_.empty()) {
      if (!co_await send(out_)) co_return Then::close;
      out_.clear();
      execution.taken(given);
      if (done) co_return keep ? Then::next : Then::close;
      continue;  // more may have come while we wrote
    }
    if (done) co_return keep ? Then::next : Then::close;
    co_await execution.changed().wait();
  }
}

// The client may still be sending a body that we do not read: closing now would reset the
// connection and lose the answer on its way (RFC 9112 section 9.6).
Awaitable<> Session::linger() {
  constexpr std::size_t linger_max = 4 * 1024 * 1024;
  constexpr std::chrono::seconds linger_time{2};
  stream_.expires_after(linger_time);
  co_await stream_.shutdown_send();
  Buffer sink;
  for (std::size_t read = 0; read < linger_max;) {
    const auto got = co_await stream_.read_some(sink);
    if (got.error || got.bytes == 0) co_return;
    read += got.bytes;
    sink.consume(got.bytes);
  }
}

}  // namespace ledger
