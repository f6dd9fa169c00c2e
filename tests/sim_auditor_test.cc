// The simulation's auditor on histories made by hand: a good one passes, and each broken one is
// caught under the rule that it breaks.
#include <doctest/doctest.h>

#include "tests/sim/auditor.h"

using namespace ledger::sim;
using namespace std::chrono_literals;
using State = Written::State;

namespace {

constexpr int key = 0;

Rules rules() {
  Rules r;
  r.wait = 1s;
  r.timeout = 1s;
  return r;
}

Written record(State state, std::uint64_t claim, const std::string& answer = "") {
  Written w;
  w.state = state;
  w.claim = w.generation = claim;
  w.has_answer = !answer.empty();
  w.answer = answer;
  return w;
}

Reply success(const std::string& token) {
  Reply r;
  r.kind = Reply::Kind::answered;
  r.executed = true;
  r.token = token;
  r.answer = "200 " + token;
  r.generation = 1;
  return r;
}

// One call that was claimed, sent and took effect under claim 1.
struct History : Auditor {
  explicit History(const Rules& r = rules()) : Auditor(r) {
    asked(0, key, 0ms);
    wrote(key, record(State::in_flight, 1), 0ms);
    sent(key, 1, 1, 0ms);
    effect(key, 1, "a", 5ms);
    wire_closed(key, 1);
  }
  void complete() {
    wrote(key, record(State::completed, 1, "200 a"), 9ms);
    answered(0, success("a"), 9ms, 0ms);
  }
  std::string broken() {
    finish();
    return violation() ? violation()->rule : "";
  }
};

}  // namespace

TEST_CASE("auditor: a call that is executed, answered and replayed breaks no rule") {
  History h;
  h.complete();
  h.asked(1, key, 20ms);
  auto replay = success("a");
  replay.executed = false;
  replay.replayed = true;
  h.answered(1, replay, 20ms, 0ms);
  CHECK(h.broken().empty());
}

TEST_CASE("auditor: a second effect is caught") {
  History h;
  h.effect(key, 1, "b", 6ms);
  CHECK(h.broken() == "never-twice");
}

TEST_CASE("auditor: sending without a claim is caught") {
  Auditor a(rules());
  a.sent(key, 1, 1, 0ms);
  REQUIRE(a.violation());
  CHECK(a.violation()->rule == "claim-before-send");
}

TEST_CASE(
    "auditor: sending again what may have happened is caught, unless the upstream is to know it") {
  History h;
  h.sent(key, 1, 2, 6ms);
  CHECK(h.broken() == "never-twice");
  auto r = rules();
  r.sends_again = r.honoured = true;
  History again(r);
  again.sent(key, 1, 2, 6ms);
  again.complete();
  CHECK(again.broken().empty());
}

TEST_CASE("auditor: a release of what happened, or happens later, is caught") {
  History h;
  h.wrote(key, record(State::released, 1), 7ms);
  CHECK(h.broken() == "release-is-true");
  Auditor late(rules());
  late.wrote(key, record(State::in_flight, 1), 0ms);
  late.sent(key, 1, 1, 0ms);
  late.wrote(key, record(State::released, 1), 7ms);
  late.effect(key, 1, "a", 8ms);
  REQUIRE(late.violation());
  CHECK(late.violation()->rule == "release-is-true");
}

TEST_CASE("auditor: a completed record that changes is caught, and one that expired may") {
  History h;
  h.complete();
  h.wrote(key, record(State::in_doubt, 1), 10ms);
  CHECK(h.broken() == "completed-stays");
  History claimed;
  claimed.complete();
  claimed.wrote(key, record(State::in_flight, 2), 10ms);
  CHECK(claimed.broken() == "completed-stays");
  auto r = rules();
  r.ttl = 5ms;
  History expired(r);
  expired.complete();
  expired.wrote(key, record(State::in_flight, 2), 20ms);
  expired.effect(key, 2, "b", 21ms);
  CHECK(expired.broken().empty());
}

TEST_CASE("auditor: a settle by an earlier claim, or beside another claim, is caught") {
  History h;
  h.wrote(key, record(State::in_doubt, 1), 6ms);
  h.wrote(key, record(State::completed, 7, "200 a"), 7ms);
  CHECK(h.broken() == "fence");
  History beside;
  beside.wrote(key, record(State::in_flight, 2), 6ms);
  CHECK(beside.broken() == "one-claim");
}

TEST_CASE("auditor: a held doubt that is claimed, or sent under another upstream key, is caught") {
  History h;
  h.wrote(key, record(State::in_doubt, 1), 6ms);
  h.wrote(key, record(State::in_flight, 2), 7ms);
  CHECK(h.broken() == "doubt-is-held");
  auto r = rules();
  r.sends_again = r.honoured = true;
  History other(r);
  other.wrote(key, record(State::in_doubt, 1), 6ms);
  other.wrote(key, record(State::in_flight, 2), 7ms);
  CHECK(other.broken() == "same-upstream-key");
}

TEST_CASE("auditor: words that are not true are caught") {
  History h;
  h.wrote(key, record(State::completed, 1, "200 a"), 9ms);
  h.answered(0, success("never"), 9ms, 0ms);
  CHECK(h.broken() == "answers-are-true");

  History not_sent;
  Reply reply;
  reply.kind = Reply::Kind::not_sent;
  reply.executed = true;
  reply.generation = 1;
  not_sent.answered(0, reply, 9ms, 0ms);
  CHECK(not_sent.broken() == "not-sent-is-true");

  History other;
  other.complete();
  other.asked(1, key, 20ms);
  auto replay = success("a");
  replay.answer = "200 A";
  other.answered(1, replay, 20ms, 0ms);
  CHECK(other.broken() == "first-answer");
}

TEST_CASE("auditor: an answer that is late, or never comes, is caught") {
  History h;
  h.wrote(key, record(State::completed, 1, "200 a"), 9ms);
  h.answered(0, success("a"), 20s, 0ms);
  CHECK(h.broken() == "in-time");
  History stood_still;
  stood_still.wrote(key, record(State::completed, 1, "200 a"), 9ms);
  stood_still.answered(0, success("a"), 20s, 15s);
  CHECK(stood_still.broken().empty());
  History never;
  CHECK(never.broken() == "all-are-answered");
}

TEST_CASE("auditor: a person may grant one more, and no more than that") {
  History h;
  h.wrote(key, record(State::in_doubt, 1), 6ms);
  auto denied = record(State::released, 1);
  denied.by_person = true;
  h.wrote(key, denied, 7ms);
  h.wrote(key, record(State::in_flight, 2), 8ms);
  h.effect(key, 2, "b", 9ms);
  CHECK(!h.violation());
  h.effect(key, 3, "c", 9ms);
  CHECK(h.broken() == "never-twice");
}
