#include "guard/execution.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <exception>
#include <utility>

#include "guard/crash_point.h"
#include "guard/guard.h"

namespace ledger {
namespace {

using std::chrono::milliseconds;

// After its time-out was told, an answer is still read for so long: it settles what is in doubt.
constexpr std::chrono::minutes late_window{10};

// Bytes of an answer beyond response_max that wait for the leader at most.
constexpr std::size_t unstored_max = 262'144;

// An answer of so many bytes is recorded whatever else is held.
constexpr std::size_t small_max = 65'536;

// The first pause before a call is sent again, and the longest.
constexpr milliseconds resend_min{100}, resend_max{4000};
constexpr std::uint32_t answered_max = 5;  // whole answers that leave it unknown

// A settle that fails is tried again from memory, ever less often; after `settle_patience` the
// caller is told that the outcome could not be recorded.
constexpr milliseconds settle_retry_min{50}, settle_retry_max{2000};
constexpr std::chrono::seconds settle_patience{5};

std::string seconds_text(Duration d) {
  const auto ms = d.count();
  if (ms % 1000 == 0) return std::to_string(ms / 1000) + " s";
  return std::to_string(ms) + " ms";
}

}  // namespace

Execution::Execution(const Executor& executor, Guard& guard, Record claimed, const Policy& policy,
                     std::unique_ptr<Exchange> exchange, InFlight::Entry entry)
    : executor_(executor),
      guard_(guard),
      record_(std::move(claimed)),
      policy_(policy),
      exchange_(std::move(exchange)),
      entry_(std::move(entry)),
      changed_(executor),
      timeout_(executor),
      deadline_(SteadyClock::now() + policy.timeout),
      memory_(guard.memory()) {
  guard_.metrics().executions.fetch_add(1, std::memory_order_relaxed);
}

Execution::~Execution() {
  if (!told_) guard_.metrics().executions.fetch_sub(1, std::memory_order_relaxed);
}

void Execution::launch() {
  auto self = shared_from_this();
  asio::co_spawn(
      executor_, [self]() -> Awaitable<> { return self->run(); }, asio::detached);
  asio::co_spawn(
      executor_, [self]() -> Awaitable<> { return self->watch_timeout(); }, asio::detached);
}

Awaitable<> Execution::run() {
  auto self = shared_from_this();
  Outcome outcome = Unknown{"the proxy failed"};
  try {
    outcome = co_await exchange_call();
  } catch (const std::exception& e) {
    if (sending_)
      outcome = Unknown{std::string("the proxy failed: ") + e.what()};
    else
      outcome = NotSent{std::string("the proxy failed: ") + e.what()};
  }
  finished_ = true;
  timeout_.cancel();
  exchange_.reset();
  co_await settle(std::move(outcome));
}

// Sends, and sends again where that is safe, until it is known what came of the call or its time is
// up.
Awaitable<Outcome> Execution::exchange_call() {
  auto pause = resend_min;
  Tries tries;
  for (;;) {
    auto outcome = co_await send_once();
    if (told_ || !sends_again(outcome, tries) || SteadyClock::now() + pause >= deadline_)
      co_return outcome;
    if (const auto* unknown = std::get_if<Unknown>(&outcome)) doubt(unknown->why);
    Timer timer(executor_, pause);
    co_await timer.async_wait(use_result);
    if (told_) co_return outcome;
    pause = std::min(pause * 2, resend_max);
    begin_anew();
  }
}

// Is another sending safe, and could it tell more than this one?
bool Execution::sends_again(const Outcome& outcome, Tries& tries) const {
  if (std::holds_alternative<NotSent>(outcome))
    return !lasting_ && (record_.tainted || tries.unsent++ < policy_.retries);
  const auto* unknown = std::get_if<Unknown>(&outcome);
  if (unknown == nullptr) return false;
  // Some upstreams repeat a 500 under its key for ever; 409 says that the first is still running.
  if (unknown->answer && unknown->answer->status != 409 && tries.answered++ == answered_max)
    return false;
  // Under its key the upstream takes it once. What the client has seen part of stays as it is.
  return holds_back() && !streaming_ &&
         guard_.now() < record_.first_sent_at + policy_.upstream_key_ttl;
}

// From here on the call may have had an effect, whatever its next sending ends with.
void Execution::doubt(const std::string& why) {
  if (std::exchange(record_.tainted, true)) return;
  ++record_.effects;
  record_.history.push_back({guard_.now(), "sent_again", why});
}

void Execution::begin_anew() {
  head_.reset();
  body_.clear();
  answer_.reset();
  memory_.resize(0);
  dropped_ = 0;
  stored_ = true;
}

// Connects, sends, and reads the answer to its end.
Awaitable<Outcome> Execution::send_once() {
  auto connected = co_await exchange_->connect(deadline_);
  lasting_ = connected.lasting;
  if (!connected.error.empty()) co_return NotSent{std::move(connected.error), connected.reason};
  if (SteadyClock::now() >= deadline_)
    co_return NotSent{"connecting took the route's whole `timeout` of " +
                      seconds_text(policy_.timeout)};
  crash_point("connected");
  // Others may act on our records once the lease has lapsed: without it, nothing is sent.
  lasting_ = true;
  if (!guard_.lease_stands(record_))
    co_return NotSent{"the proxy's lease in the store lapsed before the call went out"};

  sending_ = true;
  exchange_->expires_at(deadline_ + late_window);
  auto started = co_await exchange_->start();
  if (!started.error.empty()) co_return Unknown{std::move(started.error)};
  crash_point("head-received");
  received_at_ = guard_.now();
  head_ = std::move(started.head);
  if (!head_->bodyless)
    if (auto error = co_await read_body(); !error.empty()) co_return Unknown{std::move(error)};
  crash_point("body-received");
  whole_ = true;
  co_return outcome_of(make_answer(), policy_);
}

// Reads the body to its end, at the upstream's pace. Returns what went wrong.
Awaitable<std::string> Execution::read_body() {
  for (;;) {
    if (!exchange_->ready()) {
      // More is on its way: what there is may go to the client meanwhile.
      if (!holds_back()) streaming_ = true;
      changed_.notify();
      if (!stored_) co_await make_room();
    }
    // Into a piece of its own: the leader looks at body_ while the read waits.
    piece_.clear();
    auto more = co_await exchange_->read(piece_);
    body_ += piece_;
    memory_.resize(body_.capacity());
    if (!more.error.empty()) co_return std::move(more.error);
    if (received() > policy_.response_max || !fits()) {
      stored_ = false;
      streaming_ = true;
      taken(taken_);
    }
    if (more.done) co_return std::string();
  }
}

// A long answer is not recorded where the process holds too much already.
bool Execution::fits() const {
  const auto& memory = guard_.memory();
  return body_.size() <= small_max || (memory.holds(body_.size()) && !memory.overflows());
}

// Beyond response_max the answer is kept only until the leader has taken it, so a leader that takes
// slowly slows the reading down. (It is given up by its session when it takes nothing at all.)
Awaitable<> Execution::make_room() {
  while (watched_ && body_.size() > unstored_max) co_await changed_.wait();
}

std::string_view Execution::body(std::uint64_t from) const {
  if (from < dropped_ || from > received()) return {};
  return std::string_view(text()).substr(from - dropped_);
}

void Execution::taken(std::uint64_t position) {
  taken_ = position;
  if (stored_) return;
  const auto droppable = watched_ ? taken_ - dropped_ : body_.size();
  body_.erase(0, droppable);
  dropped_ += droppable;
  // What was kept to be recorded goes, now that it is not.
  if (body_.size() <= unstored_max && body_.capacity() > 2 * unstored_max) body_.shrink_to_fit();
  memory_.resize(body_.capacity());
  changed_.notify();
}

void Execution::detach() {
  watched_ = false;
  taken(taken_);
}

AnswerPtr Execution::make_answer() {
  auto answer = std::make_shared<Answer>();
  answer->status = head_->status;
  answer->reason = head_->reason;
  answer->headers = head_->headers;
  answer->body_stored = stored_;
  answer->received_at = received_at_;
  if (!stored_) return answer;
  answer->body = std::move(body_);
  answer_ = answer;
  return answer;
}

// Tells the caller when the route's `timeout` has passed; the exchange goes on.
Awaitable<> Execution::watch_timeout() {
  auto self = shared_from_this();
  timeout_.expires_at(deadline_);
  const auto [error] = co_await timeout_.async_wait(use_result);
  // Before anything was sent, connecting has the same deadline and says that nothing was.
  if (error || finished_ || !sending_) co_return;
  Outcome late = Unknown{"no whole answer within " + seconds_text(policy_.timeout), nullptr, true};
  co_await settle(std::move(late));
}

// Writes what came of it, fenced by the record's version, then tells everybody.
Awaitable<> Execution::settle(Outcome outcome) {
  while (settling_) co_await changed_.wait();
  settling_ = true;
  const auto claim = record_.claim_version;
  bool gone = false;
  milliseconds pause = settle_retry_min;
  const auto patience = SteadyClock::now() + settle_patience;
  const auto give_up = SteadyClock::now() + late_window;
  for (;;) {
    auto decision =
        decide(&record_, policy_, Settled{record_.claim_version, outcome}, guard_.now());
    auto* commit = std::get_if<Commit>(&decision);
    if (!commit) break;  // somebody else settled it: the fence holds
    Replace write;
    write.id = record_.id;
    write.expected_version = record_.version;
    write.next = std::move(commit->next);
    write.unsent = !sending_ && std::holds_alternative<NotSent>(outcome);
    auto written = co_await guard_.replace(std::move(write));
    if (written) {
      crash_point("recorded");
      gone = !written->found.record;  // in doubt by another's word, then deleted or expired
      if (gone) break;
      const bool tainted = record_.tainted;
      record_ = std::move(*written->found.record);
      if (written->swapped && record_.state == State::in_doubt) guard_.doubted(record_);
      if (written->swapped || record_.claim_version != claim) break;
      // Whoever wrote it meanwhile did not know how often this execution has sent.
      if (record_.state == State::in_doubt) record_.tainted = record_.tainted || tainted;
      continue;
    }
    guard_.store_failing(written.error(), false);
    const auto now = SteadyClock::now();
    if (now >= patience && !told_)
      tell(Unknown{"the answer could not be recorded: " + written.error().message});
    if (now >= give_up) break;
    Timer timer(executor_, pause);
    co_await timer.async_wait(use_result);
    pause = std::min(pause * 2, settle_retry_max);
  }
  settling_ = false;
  if (const auto* not_sent = std::get_if<NotSent>(&outcome))
    if (const auto why = why_sent_after_all(claim, gone); !why.empty()) {
      Outcome doubt = Unknown{why + "; " + not_sent->why};
      outcome = std::move(doubt);
    }
  tell(outcome);
  changed_.notify();
}

// This sending never left, but the call may have been sent all the same. Empty: it was not.
std::string Execution::why_sent_after_all(std::uint64_t claim, bool gone) const {
  if (record_.state == State::in_doubt || record_.tainted)
    return "an earlier sending may have had an effect";
  const bool taken_over = record_.state == State::in_flight && record_.claim_version != claim;
  if (gone || taken_over || record_.state == State::completed)
    return "another proxy took this one for dead and may have sent the same call meanwhile";
  return "";
}

void Execution::tell(const Outcome& outcome) {
  if (told_) return;
  told_ = outcome;
  auto& m = guard_.metrics();
  m.executions.fetch_sub(1, std::memory_order_relaxed);
  if (std::holds_alternative<Answered>(outcome))
    m.settled_completed.fetch_add(1, std::memory_order_relaxed);
  else if (std::holds_alternative<Unknown>(outcome))
    m.settled_in_doubt.fetch_add(1, std::memory_order_relaxed);
  else
    m.settled_released.fetch_add(1, std::memory_order_relaxed);
  entry_.finish(Shared{outcome, record_.fingerprint});
  changed_.notify();
}

}  // namespace ledger
