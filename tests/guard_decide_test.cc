// The contract's two tables (section 2), row by row, against decide(). No I/O, time is an argument.
#include <doctest/doctest.h>

#include "guard/decide.h"

using namespace ledger;
using namespace std::chrono_literals;

namespace {

const Instant t0{std::chrono::milliseconds(1'750'000'000'000)};

Identity identity(char fingerprint, KeySource source = KeySource::header) {
  Identity i;
  i.id.fill(1);
  i.fingerprint.fill(static_cast<std::uint8_t>(fingerprint));
  i.source = source;
  return i;
}

AnswerPtr answer(int status, Headers headers = {}) {
  auto a = std::make_shared<Answer>();
  a->status = status;
  a->headers = std::move(headers);
  a->body = "{}";
  return a;
}

StoredRequestPtr sendable() {
  auto request = std::make_shared<StoredRequest>();
  request->target = "http://h/";
  return request;
}

// A key's life, as a store would keep it: versions are assigned, decisions applied.
struct Key {
  MaybeRecord record;
  Policy policy;
  Instant now = t0;
  bool owner_alive = true;
  StoredRequestPtr request;
  std::uint64_t versions = 100;

  Decision arrive(const Identity& who) {
    Arrived call;
    call.id = who.id;
    call.identity = &who;
    call.method = "POST";
    call.instance = "instance-1";
    call.owner_alive = owner_alive;
    call.request = request;
    return decide(record.get(), policy, call, now);
  }
  Decision arrive() { return arrive(identity('a')); }

  void write(Record next) {
    next.version = ++versions;
    if (next.claim_version == 0) next.claim_version = next.version;
    if (next.generation == 0) next.generation = next.version;
    record = std::move(next);
  }
  void execute() {
    auto d = arrive();
    auto* e = std::get_if<Execute>(&d);
    REQUIRE(e != nullptr);
    write(e->next);
  }
  bool settle(Outcome o) { return settle(record->claim_version, std::move(o)); }
  bool settle(std::uint64_t claim, Outcome o) {
    return apply(decide(record.get(), policy, Settled{claim, std::move(o)}, now));
  }
  bool apply(Decision d) {
    auto* c = std::get_if<Commit>(&d);
    if (c) write(c->next);
    return c != nullptr;
  }
  std::string refusal() {
    auto d = arrive();
    auto* r = std::get_if<Refuse>(&d);
    return r ? std::string(r->problem.slug) : "";
  }
};

}  // namespace

TEST_CASE("a first call executes, claimed by its instance, ownerless 30 s after its time-out") {
  Key k;
  k.execute();
  CHECK(k.record->state == State::in_flight);
  CHECK(k.record->owner == "instance-1");
  CHECK(k.record->ownerless_at == t0 + k.policy.timeout + 30s);
  CHECK_FALSE(k.record->expires_at);
  CHECK(k.record->effects == 0);
}

TEST_CASE(
    "an answer completes the record, and every duplicate gets that answer until the ttl has "
    "passed") {
  Key k;
  k.execute();
  const auto a = answer(200);
  CHECK(k.settle(Answered{a}));
  CHECK(k.record->state == State::completed);
  CHECK(k.record->effects == 1);
  CHECK(k.record->expires_at == t0 + 24h);
  k.now = t0 + 24h - 1ms;
  auto d = k.arrive();
  REQUIRE(std::holds_alternative<Replay>(d));
  CHECK(std::get<Replay>(d).answer == a);
  CHECK_FALSE(std::get<Replay>(d).in_doubt);
  k.now = t0 + 24h;
  d = k.arrive();
  REQUIRE(std::holds_alternative<Execute>(d));
  CHECK(std::get<Execute>(d).reset_counts);
  CHECK(std::get<Execute>(d).next.generation == 0);
}

TEST_CASE("ttl forever never expires") {
  Key k;
  k.policy.ttl.reset();
  k.execute();
  k.settle(Answered{answer(200)});
  k.now = t0 + 24h * 365 * 50;
  CHECK(std::holds_alternative<Replay>(k.arrive()));
}

TEST_CASE(
    "a rejected or unsent first send releases the record, and the next call starts a new "
    "generation") {
  for (const Outcome& o : {Outcome(Rejected{answer(402)}), Outcome(NotSent{"refused"})}) {
    Key k;
    k.execute();
    const auto generation = k.record->generation;
    CHECK(k.settle(o));
    CHECK(k.record->state == State::released);
    CHECK(k.record->effects == 0);
    k.execute();
    CHECK(k.record->generation != generation);
  }
}

TEST_CASE(
    "an unknown outcome leaves the record in doubt, forever by default, and holds every "
    "duplicate") {
  Key k;
  k.execute();
  CHECK(k.settle(Unknown{"connection reset"}));
  CHECK(k.record->state == State::in_doubt);
  CHECK(k.record->effects == 1);
  CHECK_FALSE(k.record->expires_at);
  k.now = t0 + 24h * 1000;
  CHECK(k.refusal() == "in-doubt");
}

TEST_CASE("an in-doubt record with a recorded 5xx replays it as in doubt") {
  Key k;
  k.execute();
  const auto a = answer(500);
  k.settle(outcome_of(a, k.policy));
  auto d = k.arrive();
  REQUIRE(std::holds_alternative<Replay>(d));
  CHECK(std::get<Replay>(d).in_doubt);
  CHECK(std::get<Replay>(d).answer == a);
}

TEST_CASE("of a doubt only a recorded 5xx is repeated: any other status would pass for a verdict") {
  for (const int status : {200, 400, 408}) {
    Key k;
    k.policy.outcomes.set_status(status, Verdict::in_doubt);
    k.execute();
    k.settle(outcome_of(answer(status), k.policy));
    CHECK(k.refusal() == "in-doubt");
  }
}

TEST_CASE("in_doubt_ttl lets an in-doubt record expire") {
  Key k;
  k.policy.in_doubt_ttl = 1h;
  k.execute();
  k.settle(Unknown{"reset"});
  k.now = t0 + 1h;
  CHECK(std::holds_alternative<Execute>(k.arrive()));
}

TEST_CASE("a late answer of the right execution settles an in-doubt record") {
  Key k;
  k.execute();
  const auto claim = k.record->claim_version;
  k.settle(Unknown{"time-out", nullptr, true});
  CHECK(k.settle(claim, Answered{answer(200)}));
  CHECK(k.record->state == State::completed);
  CHECK(k.record->effects == 1);
}

TEST_CASE(
    "a late rejection of the right execution releases an in-doubt record and takes its effect "
    "back") {
  Key k;
  k.execute();
  const auto claim = k.record->claim_version;
  k.settle(Unknown{"time-out", nullptr, true});
  CHECK(k.settle(claim, Rejected{answer(400)}));
  CHECK(k.record->state == State::released);
  CHECK(k.record->effects == 0);
}

TEST_CASE("a settle of another claim has nothing to say: the fence holds") {
  Key k;
  k.execute();
  CHECK_FALSE(k.settle(k.record->claim_version + 1, Answered{answer(200)}));
  CHECK(k.record->state == State::in_flight);
  k.settle(Answered{answer(200)});
  CHECK_FALSE(k.settle(Unknown{"late"}));
  CHECK_FALSE(k.settle(Rejected{answer(400)}));
  CHECK(k.record->state == State::completed);
}

TEST_CASE("a duplicate of a living execution waits, or is refused where the route says so") {
  Key k;
  k.execute();
  CHECK(std::holds_alternative<Wait>(k.arrive()));
  k.policy.on_in_flight = OnInFlight::refuse;
  const auto refused = k.arrive();
  REQUIRE(std::holds_alternative<Refuse>(refused));
  CHECK(std::get<Refuse>(refused).problem.slug == "in-flight");
  CHECK(std::get<Refuse>(refused).problem.retry_after_s == 2);  // however long its time-out is
}

TEST_CASE("a dead owner, or one past its time, makes the record in doubt") {
  for (const bool dead : {true, false}) {
    Key k;
    k.execute();
    if (dead)
      k.owner_alive = false;
    else
      k.now = k.record->ownerless_at;
    CHECK(k.apply(k.arrive()));
    CHECK(k.record->state == State::in_doubt);
    CHECK(k.record->effects == 1);
    CHECK(k.refusal() == "in-doubt");
  }
}

TEST_CASE("a lost owner's late answer still settles, as nobody executed since") {
  Key k;
  k.execute();
  const auto claim = k.record->claim_version;
  CHECK(k.apply(decide(k.record.get(), k.policy, OwnerLost{}, k.now)));
  CHECK(k.settle(claim, Answered{answer(200)}));
  CHECK(k.record->state == State::completed);
}

namespace {
Probed probed(Probed::Result result, Instant asked_at) {
  Probed event;
  event.asked_at = asked_at;
  event.result = result;
  if (result == Probed::Result::happened) event.answer = answer(200);
  return event;
}
bool probe(Key& k, Probed::Result result, Duration took = 0ms) {
  return k.apply(decide(k.record.get(), k.policy, probed(result, k.now - took), k.now));
}
}  // namespace

TEST_CASE("a probe settles what is in doubt, and nothing else") {
  using Result = Probed::Result;
  Key k;
  auto request = std::make_shared<StoredRequest>();
  request->probe = "http://h/?r=1";
  k.request = request;
  k.policy.timeout = 10s;
  k.execute();
  CHECK_FALSE(probe(k, Result::happened));  // it runs: its own answer is the truth

  SUBCASE("happened: a repeat gets what the probe found") {
    k.settle(Unknown{"reset"});
    CHECK(probe(k, Result::happened));
    CHECK(k.record->state == State::completed);
    CHECK(k.record->effects == 1);
    CHECK(std::holds_alternative<Replay>(k.arrive()));
    CHECK_FALSE(probe(k, Result::not_found));  // no completed record regresses
  }
  SUBCASE("not found counts twice the time-out after the connection was closed") {
    k.settle(Unknown{"reset"});
    k.now += 20s - 1ms;
    CHECK_FALSE(probe(k, Result::not_found));
    k.now += 1ms;
    CHECK(probe(k, Result::not_found));
    CHECK(k.record->state == State::released);
    CHECK(k.record->effects == 0);
  }
  SUBCASE("not found counts for nothing while the connection may be open") {
    k.settle(Unknown{"time-out", nullptr, true});
    k.now += 24h;
    CHECK_FALSE(probe(k, Result::not_found));
    CHECK(k.settle(Unknown{"the connection was closed"}));  // seen by the same execution
    CHECK_FALSE(k.settle(Unknown{"the connection was closed"}));
    CHECK_FALSE(probe(k, Result::not_found));
    k.now += 20s;
    CHECK(probe(k, Result::not_found));
  }
  SUBCASE("not found counts for nothing where it was asked too early, however late it is heard") {
    k.settle(Unknown{"reset"});
    k.now += 1h;
    CHECK_FALSE(probe(k, Result::not_found, 1h));
    CHECK(k.record->state == State::in_doubt);
  }
  SUBCASE("a dead proxy's connection is closed") {
    k.apply(decide(k.record.get(), k.policy, OwnerLost{}, k.now));
    k.now += 20s;
    CHECK(probe(k, Result::not_found));
  }
  SUBCASE("unclear leaves the doubt, however long") {
    k.settle(Unknown{"reset"});
    k.now += 24h;
    CHECK_FALSE(probe(k, Result::unclear));
  }
}

TEST_CASE(
    "another call under the same explicit key is refused unless the record is released or "
    "expired") {
  const auto other = identity('b');
  Key k;
  k.execute();
  auto slug = [&] {
    auto d = k.arrive(other);
    auto* r = std::get_if<Refuse>(&d);
    return r ? r->problem.slug : "";
  };
  CHECK(slug() == "key-reused");
  SUBCASE("completed") {
    k.settle(Answered{answer(200)});
    CHECK(slug() == "key-reused");
    k.now += 24h;
    CHECK(std::holds_alternative<Execute>(k.arrive(other)));
  }
  SUBCASE("in doubt") {
    k.settle(Unknown{"reset"});
    CHECK(slug() == "key-reused");
  }
  SUBCASE("released takes the new fingerprint") {
    k.settle(Rejected{answer(400)});
    auto d = k.arrive(other);
    REQUIRE(std::holds_alternative<Execute>(d));
    CHECK(std::get<Execute>(d).next.fingerprint == other.fingerprint);
  }
}

TEST_CASE("on_duplicate block refuses what is completed") {
  Key k;
  k.policy.on_duplicate = OnDuplicate::block;
  k.execute();
  k.settle(Answered{answer(200)});
  CHECK(k.refusal() == "duplicate-blocked");
}

TEST_CASE("max counts executions that may have had an effect, not the rejected and unsent ones") {
  Key k;
  k.policy.max = 2;
  k.execute();
  k.settle(Answered{answer(200)});
  k.execute();
  k.settle(Rejected{answer(400)});
  k.execute();
  k.settle(NotSent{"refused"});
  k.execute();
  k.settle(Answered{answer(201)});
  auto d = k.arrive();
  REQUIRE(std::holds_alternative<Replay>(d));
  CHECK(std::get<Replay>(d).answer->status == 201);
}

TEST_CASE("an answer that is not stored is never invented") {
  Key k;
  k.execute();
  auto big = std::make_shared<Answer>();
  big->status = 200;
  big->body_stored = false;
  k.settle(Answered{big});
  CHECK(k.refusal() == "answer-not-stored");
}

TEST_CASE("a person settles what is in doubt, and nothing else") {
  Key k;
  k.execute();
  auto resolve = [&](bool executed, AnswerPtr a = nullptr) {
    return k.apply(decide(k.record.get(), k.policy, Resolved{executed, a}, k.now));
  };
  CHECK_FALSE(resolve(true));
  k.settle(Unknown{"reset"});
  SUBCASE("executed: duplicates are told, without an answer") {
    CHECK(resolve(true));
    CHECK(k.record->state == State::completed);
    CHECK(k.refusal() == "answer-not-stored");
    CHECK_FALSE(resolve(false));
  }
  SUBCASE("executed with a response: it is replayed") {
    CHECK(resolve(true, answer(200)));
    CHECK(std::holds_alternative<Replay>(k.arrive()));
  }
  SUBCASE("not executed: the next call runs, as a new generation") {
    const auto generation = k.record->generation;
    CHECK(resolve(false));
    CHECK(k.record->effects == 0);
    k.execute();
    CHECK(k.record->generation != generation);
    CHECK_FALSE(k.record->tainted);
  }
}

namespace {
Key honouring() {
  Key k;
  k.policy.upstream_key = "Idempotency-Key";
  k.request = sendable();
  return k;
}
}  // namespace

TEST_CASE(
    "where the upstream honours a key, what is in doubt is sent again under the same key for 23 "
    "h") {
  auto k = honouring();
  k.execute();
  const auto key = upstream_key(*k.record);
  const auto claim = k.record->claim_version;
  k.settle(Unknown{"reset"});
  k.now = t0 + 23h - 1ms;
  k.execute();
  CHECK(upstream_key(*k.record) == key);
  CHECK(k.record->claim_version != claim);
  CHECK(k.record->tainted);
  k.settle(Unknown{"reset"});
  CHECK(k.record->effects == 1);
  k.now = t0 + 23h;
  CHECK(k.refusal() == "in-doubt");
}

TEST_CASE(
    "a retry that is rejected or not sent leaves in doubt what an earlier send may have done") {
  for (const Outcome& o : {Outcome(Rejected{answer(400)}), Outcome(NotSent{"refused"})}) {
    auto k = honouring();
    k.execute();
    k.settle(Unknown{"reset"});
    k.execute();
    CHECK(k.settle(o));
    CHECK(k.record->state == State::in_doubt);
    k.execute();
    CHECK(k.settle(Answered{answer(200)}));
    CHECK(k.record->state == State::completed);
    CHECK(k.record->effects == 1);
  }
}

TEST_CASE("the answer of an execution that was retried since has nothing to say") {
  auto k = honouring();
  k.execute();
  const auto first = k.record->claim_version;
  k.settle(Unknown{"reset"});
  k.execute();
  CHECK_FALSE(k.settle(first, Answered{answer(200)}));
  CHECK(k.record->state == State::in_flight);
}

TEST_CASE("without a stored request a retry would not be the same call: it is held") {
  auto k = honouring();
  k.request = nullptr;
  k.execute();
  k.settle(Unknown{"reset"});
  CHECK(k.refusal() == "in-doubt");
}

TEST_CASE("a fresh execution never has an earlier one's upstream key") {
  auto k = honouring();
  k.execute();
  const auto key = upstream_key(*k.record);
  k.settle(Answered{answer(200)});
  k.record = std::nullopt;  // deleted by a person
  k.execute();
  CHECK(upstream_key(*k.record) != key);
}

TEST_CASE("statuses mean what the contract's table says") {
  Policy plain, keyed;
  keyed.upstream_key = "Idempotency-Key";
  auto kind = [](const Outcome& o) { return o.index(); };
  const auto answered = Outcome(Answered{}).index(), rejected = Outcome(Rejected{}).index(),
             unknown = Outcome(Unknown{}).index();
  for (int s : {200, 201, 204, 301, 304, 399})
    CHECK(kind(outcome_of(answer(s), plain)) == answered);
  for (int s : {400, 401, 402, 404, 409, 422, 429})
    CHECK(kind(outcome_of(answer(s), plain)) == rejected);
  for (int s : {408, 500, 502, 503, 504, 599}) CHECK(kind(outcome_of(answer(s), plain)) == unknown);
  CHECK(kind(outcome_of(answer(503, {{"retry-After", "1"}}), plain)) == rejected);
  CHECK(kind(outcome_of(answer(409), keyed)) == unknown);
}

TEST_CASE("history keeps the latest 32 entries") {
  auto k = honouring();
  for (int i = 0; i < 40; ++i) {
    k.execute();
    k.settle(Unknown{"reset"});
  }
  CHECK(k.record->history.size() == 32);
  CHECK(k.record->history.back().event == "in_doubt");
}
