#include "tests/sim/auditor.h"

#include <algorithm>
#include <utility>

namespace ledger::sim {
namespace {

using State = Written::State;

// What an answer may take beyond the route's times: the settle's patience, one more look at the
// store.
constexpr Time grace{6000};

// How many effects may still come of what is on its way.
unsigned still_possible(const auto& generations, bool honoured) {
  unsigned sum = 0;
  for (const auto& [id, g] : generations)
    sum += honoured ? (g.on_wire > 0 && g.effects == 0) : g.on_wire;
  return sum;
}

}  // namespace

void Auditor::fail(int key, const char* rule, std::string what) {
  if (!violation_) violation_ = Violation{rule, std::move(what), key};
}

Auditor::Book& Auditor::book(int key) {
  auto& found = books_[key];
  if (!std::exchange(found.known, true)) found.budget = rules_.max;
  return found;
}

void Auditor::next_epoch(Book& b) {
  ++b.epoch;
  if (b.answer) b.past.insert(*b.answer);
  b.answer.reset();
}

// Expiry, a deletion or a person lets the key execute again: `more` effects beyond those that were
// there already or may still come of what is on the wire.
void Auditor::anew(Book& b, unsigned more) {
  const unsigned possible = still_possible(b.generations, rules_.honoured);
  b.budget = std::max(b.budget, b.effects + possible + more);
  next_epoch(b);
}

// --- the wire --------------------------------------------------------------------------------

void Auditor::sent(int key, std::uint64_t generation, int sending, Time) {
  auto& b = book(key);
  auto& g = b.generations[generation];
  if (!b.record) fail(key, "claim-before-send", "sent, and the store knows of no claim");
  if (g.on_wire + g.effects > 0 && !rules_.sends_again)
    fail(key, "never-twice", "sent again, though it may have happened");
  ++g.on_wire;
  b.wire[sending] = generation;
}

void Auditor::effect(int key, std::uint64_t generation, const std::string& token, Time) {
  auto& b = book(key);
  auto& g = b.generations[generation];
  ++effects_;
  ++b.effects;
  ++g.effects;
  ++b.tokens[token];
  if (g.released)
    fail(key, "release-is-true", "it took effect, after it was released as not having happened");
  if (g.effects > 1) fail(key, "never-twice", "one execution took effect twice");
  if (b.effects > b.budget)
    fail(key, "never-twice",
         "effects " + std::to_string(b.effects) + ", allowed " + std::to_string(b.budget));
}

void Auditor::wire_closed(int key, int sending) {
  auto& b = book(key);
  const auto at = b.wire.find(sending);
  if (at == b.wire.end()) return;
  --b.generations[at->second].on_wire;
  b.wire.erase(at);
}

// --- the store -------------------------------------------------------------------------------

void Auditor::claimed(int key, Book& b, const Written& next, Time now) {
  const bool expired = b.expires && *b.expires <= now;
  if (!b.record) return;
  switch (b.record->state) {
    case State::in_flight:
      return fail(key, "one-claim", "claimed while another claim was in flight");
    case State::released:
      if (expired) anew(b, rules_.max);
      return;
    case State::completed:
      if (expired) return anew(b, rules_.max);
      if (rules_.max == 1) fail(key, "completed-stays", "claimed again, though it is completed");
      return;
    case State::in_doubt:
      if (expired) return anew(b, rules_.max);
      if (!rules_.sends_again)
        fail(key, "doubt-is-held", "claimed again, though it may have happened");
      else if (next.generation != b.record->generation)
        fail(key, "same-upstream-key", "sent again under another upstream key");
      return;
  }
}

void Auditor::ended(int key, Book& b, const Written& next) {
  if (!b.record) return fail(key, "completed-stays", "a record came back that was gone");
  if (b.record->claim != next.claim)
    fail(key, "fence", "the execution of an earlier claim wrote over a later one");
  if (b.record->state == State::completed)
    fail(key, "completed-stays", "a completed record was written over");
  if (b.record->state == State::released)
    fail(key, "fence", "a released record was settled once more");
  auto& g = b.generations[next.generation];
  if (next.state != State::released) return;
  if (next.by_person) {
    // Believed: what this execution did, and may still do, does not count.
    b.budget += rules_.honoured ? (g.effects + g.on_wire > 0) : g.effects + g.on_wire;
    return;
  }
  if (g.effects > 0) fail(key, "release-is-true", "released, though it took effect");
  g.released = true;
}

void Auditor::wrote(int key, const Written& next, Time now) {
  auto& b = book(key);
  if (next.state == State::in_flight)
    claimed(key, b, next, now);
  else
    ended(key, b, next);
  if (next.by_person) next_epoch(b);
  // Above one execution the latest answer counts.
  if (next.state == State::completed && next.has_answer && (rules_.max > 1 || !b.answer))
    b.answer = next.answer;
  b.record = next;
  const auto& ttl = next.state == State::in_doubt ? rules_.in_doubt_ttl : rules_.ttl;
  b.expires =
      ttl && next.state != State::in_flight ? std::optional(next.decided + *ttl) : std::nullopt;
  if (next.decided > now) fail(key, "expiry", "written with a time that is still to come");
}

void Auditor::deleted(int key, Time) {
  auto& b = book(key);
  b.record.reset();
  b.expires.reset();
  anew(b, rules_.max);
}

// --- callers ---------------------------------------------------------------------------------

void Auditor::asked(int call, int key, Time now) {
  waiting_[call] = Waiting{key, now, book(key).epoch};
}

void Auditor::check_words(int key, Book& b, const Reply& reply, const Waiting& call) {
  const bool settled_epoch = call.epoch == b.epoch;
  if (reply.kind == Reply::Kind::answered && !reply.token.empty()) {
    const auto at = b.tokens.find(reply.token);
    if (at == b.tokens.end())
      fail(key, "answers-are-true", "answered with success, and nothing happened");
    if (settled_epoch && rules_.max == 1 && b.answer && *b.answer != reply.answer &&
        !b.past.contains(reply.answer))
      fail(key, "first-answer", "got " + reply.answer + ", the first answer was " + *b.answer);
  }
  if (reply.kind == Reply::Kind::answered && reply.replayed && settled_epoch && !b.answer &&
      !b.past.contains(reply.answer))
    fail(key, "first-answer", "replayed an answer that was never recorded");
  if (reply.kind != Reply::Kind::not_sent) return;
  if (reply.executed) {
    const auto& g = b.generations[reply.generation];
    if (g.effects + g.on_wire > 0)
      fail(key, "not-sent-is-true", "said to be safe to retry, though it was sent");
  } else if (settled_epoch && rules_.max == 1 && b.record && b.effects > 0 && call.epoch == 0) {
    fail(key, "not-sent-is-true", "a duplicate was told that nothing was sent, though it happened");
  }
}

void Auditor::check_time(int key, const Reply& reply, const Waiting& call, Time now, Time slack) {
  const auto took = now - call.since;
  const bool only_waited = reply.slug == "in-flight";
  const auto allowed = rules_.wait + grace + slack + (only_waited ? Time(0) : rules_.timeout);
  if (took > allowed)
    fail(key, "in-time",
         "answered after " + std::to_string(took.count()) + " ms, allowed " +
             std::to_string(allowed.count()));
}

void Auditor::answered(int call, const Reply& reply, Time now, Time slack) {
  const auto at = waiting_.find(call);
  if (at == waiting_.end()) return fail(0, "answered-once", "a call was answered twice");
  const auto waiting = at->second;
  waiting_.erase(at);
  check_words(waiting.key, book(waiting.key), reply, waiting);
  check_time(waiting.key, reply, waiting, now, slack);
}

void Auditor::crashed(int call) { waiting_.erase(call); }

void Auditor::finish() {
  for (const auto& [call, waiting] : waiting_)
    fail(waiting.key, "all-are-answered", "call " + std::to_string(call) + " was never answered");
}

}  // namespace ledger::sim
