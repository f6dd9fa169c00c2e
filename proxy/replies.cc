// reply: how each kind of answer is written to the client.
#include <boost/asio/this_coro.hpp>

#include "proxy/pipeline.h"

namespace ledger {
namespace {

constexpr std::size_t copied_max = 4'096;  // a larger body costs less as a send of two parts

// What decoding holds beside the coded bytes: zlib's window and two pieces.
constexpr std::size_t decoding_bytes = 192 * 1024;

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

// Fields that are of the coded bytes alone (RFC 9110 section 8.8.3, RFC 9530, RFC 3230, RFC 1864).
bool is_of_the_coded(std::string_view name) {
  for (const auto* of : {"Content-Encoding", "ETag", "Digest", "Content-Digest", "Repr-Digest",
                         "Content-MD5", "Want-Digest"})
    if (iequals(name, of)) return true;
  return false;
}

// The coding of an answer that this caller has ruled out and that can be undone; else empty.
std::string_view coding_to_undo(const Head& request, const Answer& answer) {
  std::string_view coding;
  if (answer.body.empty() || answer.status == 206) return {};
  for (const auto& [name, value] : answer.headers)
    if (iequals(name, "Content-Encoding")) {
      if (!coding.empty()) return {};  // several: as recorded
      coding = value;
    }
  return is_inflatable(coding) && excludes_coding(request, coding) ? coding : std::string_view();
}

}  // namespace

// A client that takes nothing for so long is given up, and what it asked for goes on without it;
// one that is only slow gets everything, so the time counts for each piece.
Awaitable<bool> Session::send(std::string_view head, std::string_view body) {
  do {
    const auto first = head.substr(0, piece_max);
    head.remove_prefix(first.size());
    const auto second = head.empty() ? body.substr(0, piece_max - first.size()) : body.substr(0, 0);
    body.remove_prefix(second.size());
    stream_.expires_after(proxy_.config.header_timeout);
    const Stream::Buffers piece{asio::buffer(first.data(), first.size()),
                                asio::buffer(second.data(), second.size())};
    if ((co_await stream_.write(piece)).error) co_return false;
  } while (!head.empty() || !body.empty());
  co_return true;
}

// As much as the kernel takes at once, without a coroutine: true where that is all. What is left of
// the two is for send().
bool Session::send_now(std::string_view& head, std::string_view& body) {
  Stream::Buffers left{asio::buffer(head.data(), head.size()),
                       asio::buffer(body.data(), body.size())};
  const bool all = stream_.write_now(left);
  head.remove_prefix(head.size() - left[0].size());
  body.remove_prefix(body.size() - left[1].size());
  return all;
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

// A long answer that another call got takes its part of what all of them may hold before it is
// given; while there is none it is let go, and read anew afterwards.
Awaitable<Session::Then> Session::give_long_again(const CallState& call, Given given,
                                                  const Digest& id) {
  const auto size = given.answer->body.size();
  auto held = proxy_.replays.hold(id, given.answer);
  if (!held) {
    const auto received_at = given.answer->received_at;
    given.answer.reset();
    auto& memory = proxy_.guard.memory();
    MemoryBudget::Share share(memory);
    if (co_await share.take(size, SteadyClock::now() + proxy_.config.header_timeout))
      if (auto again = co_await proxy_.guard.recorded_answer(id);
          again && again->received_at == received_at && again->body.size() == size)
        held = proxy_.replays.hold(id, std::move(again), std::move(share));
  }
  given.answer.reset();
  if (!held) co_return co_await give_problem(call, problem::memory_full(), given.attempt);
  co_return co_await give_answer(call, *held->answer, given.status, given.attempt);
}

// A whole answer: recorded earlier (replayed, joined, in doubt) or just now (executed).
Awaitable<Session::Then> Session::give_answer(const CallState& call, const Answer& answer,
                                              CallStatus status, std::uint64_t attempt) {
  const bool first = status == CallStatus::executed;
  const bool doubt =
      status == CallStatus::in_doubt ||
      (status != CallStatus::replayed &&
       verdict_of(answer.status, answer.headers, *call.to->policy) == Verdict::in_doubt);
  proxy_.metrics.count(status);
  const bool bodyless = call.to_head || has_no_body(answer.status);

  // The first caller negotiated the coding; another one may have ruled it out. What does not decode
  // is given as it was recorded.
  auto coding = first ? std::string_view() : coding_to_undo(call.head, answer);
  std::optional<Inflater> inflater;
  std::string piece;
  auto step = Inflater::Step::more;
  if (!coding.empty() && !bodyless) {
    inflater.emplace(coding, answer.body);
    while (step == Inflater::Step::more && piece.size() < piece_max) {
      step = inflater->step(piece, piece_max - piece.size());
      co_await asio::post(stream_.get_executor(), asio::deferred);
    }
    if (step == Inflater::Step::failed) {
      inflater.reset();
      coding = {};
    }
  }
  const bool whole = !inflater || step == Inflater::Step::done;
  const bool chunked = !whole && call.head.version == 11;
  const bool keep = call.head.keep_alive && (whole || chunked) && !proxy_.draining;
  const auto body = bodyless   ? std::string_view()
                    : inflater ? piece
                               : std::string_view(answer.body);

  out_.clear();
  append_status_line(out_, answer.status, answer.reason);
  for (const auto& [name, value] : answer.headers) {
    if (!first && (only_for_first_caller(name) || iequals(name, "Age"))) continue;
    if (!coding.empty() && is_of_the_coded(name)) continue;
    if (doubt && is_retry_field(name)) continue;
    if (iequals(name, "Content-Length") &&
        (!coding.empty() || (!call.to_head && answer.status != 304)))
      continue;
    append_field(out_, name, value);
  }
  if (!bodyless && whole) append_field(out_, "Content-Length", body.size());
  if (chunked) append_field(out_, "Transfer-Encoding", "chunked");
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
  if (!whole) {
    const bool given = co_await give_decoded(*inflater, piece, chunked);
    co_return given&& keep ? Then::next : Then::close;
  }
  const bool copied = body.size() <= copied_max;
  if (copied) out_ += body;
  std::string_view head = out_, rest = copied ? std::string_view() : body;
  bool sent = send_now(head, rest);
  if (!sent) sent = co_await send(head, rest);
  co_return sent&& keep ? Then::next : Then::close;
}

// The head, which is in out_, and the answer decoded piece by piece: as fast as the client takes
// it, and no faster than others get their turns. An answer that does not decode to its end is
// broken off.
Awaitable<bool> Session::give_decoded(Inflater& inflater, std::string& piece, bool chunked) {
  MemoryBudget::Share share(proxy_.guard.memory());
  share.resize(decoding_bytes);
  for (auto step = Inflater::Step::more;;) {
    if (chunked)
      append_chunk(out_, piece);
    else
      out_ += piece;
    if (step == Inflater::Step::done && chunked) append_last_chunk(out_);
    if (!out_.empty() && !co_await send(out_)) co_return false;
    if (step == Inflater::Step::done) co_return true;
    out_.clear();
    piece.clear();
    co_await asio::post(stream_.get_executor(), asio::deferred);
    step = inflater.step(piece, piece_max);
    if (step == Inflater::Step::failed) {
      stream_.close();
      co_return false;
    }
  }
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
