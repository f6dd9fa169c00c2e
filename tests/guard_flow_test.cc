// The guard with a real store and a scripted upstream: who executes, who waits, who is told what.
// Everything runs on one io_context, ordered by gates, never by time.
#include <doctest/doctest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "guard/guard.h"
#include "store/faulty.h"

using namespace ledger;
using namespace std::chrono_literals;

namespace {

struct Script {
  std::string connect_error, start_error, read_error;
  int status = 200;
  std::string body = "done";
  std::shared_ptr<Condition> gate;  // start() waits here until it is opened
  bool open = true;
  int sent = 0;  // effects
  std::function<void()> on_connect;
};

class ScriptedExchange : public Exchange {
 public:
  explicit ScriptedExchange(Script& script) : script_(script) {}
  Awaitable<Connected> connect(SteadyClock::time_point) override {
    if (script_.on_connect) script_.on_connect();
    co_return Connected{script_.connect_error, true};
  }
  Awaitable<Started> start() override {
    ++script_.sent;
    while (!script_.open) co_await script_.gate->wait();
    if (!script_.start_error.empty()) co_return Started{script_.start_error, {}};
    AnswerHead head;
    head.status = script_.status;
    head.length = script_.body.size();
    co_return Started{"", head};
  }
  Awaitable<More> read(std::string& out) override {
    if (!script_.read_error.empty()) co_return More{script_.read_error, false};
    out += script_.body;
    co_return More{"", true};
  }
  bool ready() const override { return true; }
  void expires_at(SteadyClock::time_point) override {}

 private:
  Script& script_;
};

struct World {
  Metrics metrics;
  Lease lease;
  std::unique_ptr<Store> store;
  std::unique_ptr<FaultyStore> watched;  // where a test counts what it is asked
  std::unique_ptr<Guard> guard;
  asio::io_context context;  // gone before the guard: what is suspended gives its memory back to it
  Policy policy;
  Script script;
  std::string instance;
  std::vector<Admission> admissions;

  World() {
    auto opened = open_store("memory:", true, true);
    REQUIRE(opened);
    store = std::move(*opened);
    instance = *store->join_instance();
    lease.granted(instance, time_since_boot());
    guard = std::make_unique<Guard>(*store, metrics, lease);
    script.gate = std::make_shared<Condition>(context.get_executor());
  }
  ~World() {
    if (guard) guard->quiesce();
  }

  static Identity identity(int id, int fingerprint) {
    Identity i;
    i.id.fill(static_cast<std::uint8_t>(id));
    i.fingerprint.fill(static_cast<std::uint8_t>(fingerprint));
    i.source = KeySource::header;
    return i;
  }

  // One call from its arrival to its answer (the leader's: to its settled outcome).
  void call(int id = 1, int fingerprint = 1) {
    asio::co_spawn(
        context,
        [this, who = identity(id, fingerprint)]() -> Awaitable<> {
          const GuardedCall call{who, policy, "r", "POST", "http://h/", "", "", nullptr};
          auto admission = co_await guard->admit(
              call, [this](const Record&) { return std::make_unique<ScriptedExchange>(script); });
          if (auto* led = std::get_if<Led>(&admission))
            while (!led->execution->settled()) co_await led->execution->changed().wait();
          admissions.push_back(std::move(admission));
        },
        asio::detached);
  }
  // Runs what can run now; a closed gate holds the rest back.
  void run() {
    context.restart();
    while (context.poll() > 0) {
    }
  }
  void run_to(std::size_t answers) {
    context.restart();
    while (admissions.size() < answers) context.run_one();
  }
  std::string slug(std::size_t i) const {
    const auto* refused = std::get_if<Refused>(&admissions[i]);
    return refused ? std::string(refused->problem.slug) : "";
  }
  Record record(int id = 1) {
    MaybeRecord found;
    store->load(identity(id, 0).id, [&](auto result) { found = result->record; });
    REQUIRE(found);
    return *found;
  }
};

}  // namespace

TEST_CASE("of many calls at once one executes, and all others share its outcome") {
  World w;
  w.script.open = false;
  for (int i = 0; i < 50; ++i) w.call();
  w.run();
  CHECK(w.script.sent == 1);
  CHECK(w.admissions.empty());
  w.script.open = true;
  w.script.gate->notify();
  w.run_to(50);
  CHECK(w.script.sent == 1);
  int led = 0, joined = 0;
  for (const auto& a : w.admissions) {
    led += std::holds_alternative<Led>(a);
    if (const auto* given = std::get_if<Given>(&a)) {
      joined += given->status == CallStatus::joined;
      CHECK(given->answer->body == "done");
    }
  }
  CHECK(led == 1);
  CHECK(joined == 49);
}

TEST_CASE("joined calls share a rejection and are not elected anew") {
  World w;
  w.script.open = false;
  w.script.status = 402;
  for (int i = 0; i < 5; ++i) w.call();
  w.run();
  w.script.open = true;
  w.script.gate->notify();
  w.run_to(5);
  CHECK(w.script.sent == 1);
  CHECK(w.record().state == State::released);
  w.call();
  w.run_to(6);
  CHECK(w.script.sent == 2);
}

TEST_CASE("attempts are numbered exactly, one after the other") {
  World w;
  for (int i = 0; i < 4; ++i) {
    w.call();
    w.run_to(static_cast<std::size_t>(i) + 1);
  }
  CHECK(std::get<Led>(w.admissions[0]).attempt == 1);
  for (std::size_t i = 1; i < 4; ++i) {
    CHECK(std::get<Given>(w.admissions[i]).status == CallStatus::replayed);
    CHECK(std::get<Given>(w.admissions[i]).attempt == i + 1);
  }
}

TEST_CASE("another call under a key in flight is refused at once") {
  World w;
  w.script.open = false;
  w.call(1, 1);
  w.run();
  w.call(1, 2);
  w.run_to(1);
  CHECK(w.slug(0) == "key-reused");
  CHECK(std::get<Refused>(w.admissions[0]).attempt == 0);
  w.script.open = true;
  w.script.gate->notify();
  w.run_to(2);
  CHECK(w.record().counts.mismatched == 1);
  CHECK(w.record().counts.attempts == 1);
  CHECK(w.record().counts.blocked() == 0);
}

TEST_CASE("nothing was sent: the record is released and the caller may retry") {
  World w;
  w.script.connect_error = "connection refused";
  w.call();
  w.run_to(1);
  CHECK(w.script.sent == 0);
  CHECK(std::holds_alternative<NotSent>(*std::get<Led>(w.admissions[0]).execution->settled()));
  CHECK(w.record().state == State::released);
  CHECK_FALSE(std::get<Led>(w.admissions[0]).execution->sent());
  const auto counts = w.record().counts;
  CHECK((counts.attempts == 1 && counts.executed == 0 && counts.unsent == 1));
  CHECK(counts.blocked() == 0);
}

TEST_CASE("what was sent once and then could not be sent again counts as executed") {
  World w;
  w.policy.upstream_key = "Idempotency-Key";
  w.script.start_error = "connection reset";
  w.script.on_connect = [&w] {
    if (w.script.sent == 1) w.script.connect_error = "connection refused";
  };
  w.call();
  w.run_to(1);
  CHECK(w.record().counts.executed == 1);
  CHECK(w.record().counts.unsent == 0);
}

TEST_CASE("a key that is the id of a record of the same scope is found out, of another it is not") {
  World w;
  w.call();
  w.run_to(1);
  auto pasted = World::identity(9, 9);
  pasted.key = to_hex(World::identity(1, 1).id);
  std::optional<bool> same, other;
  asio::co_spawn(
      w.context,
      [&]() -> Awaitable<> {
        same = co_await w.guard->is_record_id(pasted);
        pasted.scope = 1;
        other = co_await w.guard->is_record_id(pasted);
      },
      asio::detached);
  w.run();
  CHECK(same == true);
  CHECK(other == false);
}

TEST_CASE("a reset after the first byte, or a truncated body, is unknown and is held") {
  for (const bool truncated : {false, true}) {
    World w;
    (truncated ? w.script.read_error : w.script.start_error) = "connection reset";
    w.call();
    w.run_to(1);
    CHECK(std::holds_alternative<Unknown>(*std::get<Led>(w.admissions[0]).execution->settled()));
    CHECK(w.record().state == State::in_doubt);
    w.call();
    w.run_to(2);
    CHECK(w.slug(1) == "in-doubt");
    CHECK(w.script.sent == 1);
  }
}

TEST_CASE("the caller is told at the time-out, and the late answer still settles the record") {
  World w;
  w.policy.timeout = 300ms;  // on a busy machine the sending takes some of it
  w.script.open = false;
  w.call();
  w.run_to(1);
  const auto& outcome = *std::get<Led>(w.admissions[0]).execution->settled();
  REQUIRE(std::holds_alternative<Unknown>(outcome));
  CHECK(std::get<Unknown>(outcome).timed_out);
  CHECK(w.record().state == State::in_doubt);
  w.script.open = true;
  w.script.gate->notify();
  while (w.record().state != State::completed) w.context.run_one();
  w.call();
  w.run_to(2);
  CHECK(std::get<Given>(w.admissions[1]).answer->body == "done");
  CHECK(w.script.sent == 1);
}

TEST_CASE("a duplicate waits no longer than the route's wait") {
  World w;
  w.policy.wait = 20ms;
  w.script.open = false;
  w.call();
  w.run();
  w.call();
  w.run_to(1);
  CHECK(w.slug(0) == "in-flight");
  w.script.open = true;
  w.script.gate->notify();
  w.run_to(2);
}

TEST_CASE(
    "a sending in doubt is not released by a retry that was not sent, whoever saw the doubt "
    "first") {
  World w;
  w.policy.upstream_key = "Idempotency-Key";
  w.script.open = false;
  w.script.start_error = "connection reset";
  w.call();
  w.run();
  // Another proxy takes this one for dead.
  const auto record = w.record();
  auto lost = decide(&record, w.policy, OwnerLost{}, w.store->now());
  w.store->replace({record.id, record.version, std::get<Commit>(lost).next, {}, false},
                   [](auto result) { REQUIRE(result->swapped); });
  w.script.connect_error = "connection refused";
  w.script.open = true;
  w.script.gate->notify();
  w.run_to(1);
  CHECK(w.script.sent == 1);
  CHECK(w.record().state == State::in_doubt);
  CHECK(std::holds_alternative<Unknown>(*std::get<Led>(w.admissions[0]).execution->settled()));
}

TEST_CASE(
    "who sent nothing does not say that nothing was sent where another proxy has sent the call "
    "meanwhile") {
  World w;
  w.policy.upstream_key = "Idempotency-Key";
  w.script.connect_error = "connection refused";
  w.script.on_connect = [&w] {
    const auto put = [&w](Record next) {
      w.store->replace({next.id, next.version, next, {}, false},
                       [](auto result) { REQUIRE(result->swapped); });
    };
    const auto record = w.record();
    put(std::get<Commit>(decide(&record, w.policy, OwnerLost{}, w.store->now())).next);
    auto again = w.record();
    again.state = State::in_flight;
    again.tainted = true;
    again.claim_version = 0;
    put(again);
  };
  w.call();
  w.run_to(1);
  CHECK(w.record().state == State::in_flight);
  CHECK(std::holds_alternative<Unknown>(*std::get<Led>(w.admissions[0]).execution->settled()));
}

TEST_CASE("a call in doubt that was forgotten meanwhile is not said to be safe to send again") {
  World w;
  w.policy.upstream_key = "Idempotency-Key";
  w.script.start_error = "connection reset";
  w.script.on_connect = [&w] {
    if (w.script.sent == 0) return;
    w.script.connect_error = "connection refused";
    const auto record = w.record();
    w.store->replace({record.id, record.version, std::nullopt, {}, false},
                     [](auto result) { REQUIRE(result->swapped); });
  };
  w.call();
  w.run_to(1);
  CHECK(w.script.sent == 1);
  CHECK(std::holds_alternative<Unknown>(*std::get<Led>(w.admissions[0]).execution->settled()));
}

TEST_CASE("who sent nothing and finds its record gone does not say that nothing was sent") {
  World w;
  w.script.connect_error = "connection refused";
  w.script.on_connect = [&w] {
    const auto record = w.record();
    w.store->replace({record.id, record.version, std::nullopt, {}, false},
                     [](auto result) { REQUIRE(result->swapped); });
  };
  w.call();
  w.run_to(1);
  CHECK(std::holds_alternative<Unknown>(*std::get<Led>(w.admissions[0]).execution->settled()));
}

TEST_CASE("without a standing lease nothing is sent") {
  World w;
  w.lease.granted(w.instance, time_since_boot() - lease_duration);
  w.call();
  w.run_to(1);
  CHECK(w.script.sent == 0);
  CHECK(w.record().state == State::released);
}

TEST_CASE(
    "a claim that is dropped tells those who wait that the outcome is unknown, never that the key "
    "is free") {
  asio::io_context context;
  InFlight table;
  const auto id = World::identity(7, 7).id;
  auto first = table.join(id);
  REQUIRE(first.lead);
  auto second = table.join(id);
  REQUIRE(second.follow);
  std::shared_ptr<const Finding> finding;
  asio::co_spawn(
      context,
      [&]() -> Awaitable<> {
        finding = co_await InFlight::wait(second.follow, SteadyClock::time_point::max());
      },
      asio::detached);
  context.poll();
  { auto dropped = std::move(first.lead); }
  context.restart();
  context.run();
  REQUIRE(finding);
  CHECK(std::holds_alternative<Unknown>(std::get<Shared>(*finding).outcome));
}

TEST_CASE("repeats of a call that the store remembers are counted, and ask it nothing") {
  World w;
  w.watched = std::make_unique<FaultyStore>(*w.store);
  auto& watched = *w.watched;
  w.guard = std::make_unique<Guard>(watched, w.metrics, w.lease);
  w.call();
  w.run_to(1);
  const auto replaces = watched.replaces();
  for (int i = 0; i < 3; ++i) w.call();
  w.run_to(4);
  CHECK(watched.replaces() == replaces);
  CHECK(watched.loads() == 0);
  CHECK(w.script.sent == 1);
  for (std::size_t i = 1; i < 4; ++i) {
    const auto* given = std::get_if<Given>(&w.admissions[i]);
    REQUIRE(given);
    CHECK(given->status == CallStatus::replayed);
    CHECK(given->answer->body == "done");
    CHECK(given->attempt == i + 1);
  }
  CHECK(w.record().counts.attempts == 4);
  CHECK(w.record().counts.replayed == 3);
  // Another call under the same key is told so from memory too.
  w.call(1, 2);
  w.run_to(5);
  CHECK(w.slug(4) == "key-reused");
  CHECK(w.record().counts.attempts == 4);
  CHECK(w.record().counts.mismatched == 1);
  CHECK(watched.replaces() == replaces);
}
