// What can happen in the world: instances start, beat, stand still and die; somebody calls; stores
// fail; people decide.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "guard/operate.h"
#include "tests/sim/world.h"

namespace ledger::sim {
namespace {

using std::chrono::milliseconds;

Digest id_of(int key) {
  Digest id{};
  id.fill(static_cast<std::uint8_t>(key + 1));
  return id;
}
int key_of(const Digest& id) { return id[0] - 1; }

std::string text(const AnswerPtr& answer) {
  return std::to_string(answer->status) + " " + answer->body;
}

// An answer with an effect names it.
void put_answer(Reply& reply, const AnswerPtr& answer) {
  reply.answer = text(answer);
  if (answer->body.starts_with("effect-")) reply.token = answer->body;
}

Reply reply_of(const Outcome& outcome) {
  Reply reply;
  if (const auto* answered = std::get_if<Answered>(&outcome)) {
    reply.kind = Reply::Kind::answered;
    if (answered->answer->body_stored) put_answer(reply, answered->answer);
  } else if (std::holds_alternative<Rejected>(outcome)) {
    reply.kind = Reply::Kind::rejected;
  } else if (std::holds_alternative<NotSent>(outcome)) {
    reply.kind = Reply::Kind::not_sent;
    reply.safe_to_retry = true;
  } else {
    reply.kind = Reply::Kind::unknown;
  }
  return reply;
}

Reply reply_of(const Admission& admission) {
  Reply reply;
  if (const auto* led = std::get_if<Led>(&admission)) {
    reply = reply_of(*led->execution->settled());
    reply.executed = true;
  } else if (const auto* given = std::get_if<Given>(&admission)) {
    reply.kind = given->status == CallStatus::in_doubt ? Reply::Kind::unknown
                 : given->answer->status >= 400        ? Reply::Kind::rejected
                                                       : Reply::Kind::answered;
    reply.replayed = given->status == CallStatus::replayed;
    put_answer(reply, given->answer);
  } else {
    const auto& problem = std::get<Refused>(admission).problem;
    reply.slug = problem.slug;
    reply.safe_to_retry = problem.safe_to_retry;
    if (reply.slug == "upstream-unreachable") reply.kind = Reply::Kind::not_sent;
  }
  return reply;
}

std::string describe(const Reply& reply) {
  static constexpr const char* kinds[] = {"answered", "rejected", "not sent", "unknown", "refused"};
  return std::string(kinds[static_cast<int>(reply.kind)]) + (reply.executed ? " (executed)" : "") +
         (reply.replayed ? " (replayed)" : "") + " " + reply.answer + reply.slug;
}

Written written_of(const Record& record, bool by_person) {
  Written w;
  w.state = static_cast<Written::State>(record.state);
  w.claim = record.claim_version;
  w.generation = record.generation;
  w.has_answer = record.answer && record.answer->body_stored;
  if (w.has_answer) w.answer = text(record.answer);
  w.by_person = by_person;
  w.decided = record.updated_at.time_since_epoch();
  return w;
}

}  // namespace

// --- instances -------------------------------------------------------------------------------

void World::start_node(int number) {
  View clocks;
  clocks.offset = milliseconds(random_.below(1'000'000'000));
  clocks.drift_ppm = static_cast<int>(random_.below(40'001)) - 20'000;
  auto& place = nodes_[static_cast<std::size_t>(number)];
  if (place) graveyard_.push_back(std::move(place));
  place = std::make_unique<Node>(number, config_, store_, clocks);
  sim::view = &place->view;
  static_cast<void>(place->membership.start());
  beat(*place);
}

void World::beat(Node& node) {
  later(milliseconds(1990 + random_.below(20)), [this, &node] {
    if (!node.alive) return;
    if (const auto left = node.stands_still_until - now(); left > Time(0))
      return later(left + milliseconds(random_.below(3)), [this, &node] {
        if (!node.alive) return;
        sim::view = &node.view;
        node.membership.beat();
        beat(node);
      });
    sim::view = &node.view;
    node.membership.beat();
    beat(node);
  });
}

// The process is gone: what it was about to do is never done; what it sent is on its way.
void World::crash(Node& node) {
  if (!node.alive) return;
  node.alive = false;
  ++totals_.crashes;
  if (tracing_) trace("instance " + std::to_string(node.number) + " dies");
  // A write that was on its way to the store may arrive.
  if (random_.chance(50)) {
    sim::view = &node.view;
    node.faulty.release();
  }
  for (auto& each : calls_)
    if (each.open && each.node == &node) {
      each.open = false;
      auditor_.crashed(each.number);
    }
  later(node.restarts_after, [this, number = node.number] {
    if (tracing_) trace("instance " + std::to_string(number) + " starts again");
    start_node(number);
  });
}

void World::inject(Node& node, const Action& action) {
  const auto fault = static_cast<Fault>(action.b);
  if (action.act == Act::fault_replace)
    node.faulty.on_replace(node.faulty.replaces() + action.a, fault);
  else
    node.faulty.on_load(node.faulty.loads() + action.a, fault);
}

// What its store holds back goes on some time later.
void World::hold(Node& node) {
  node.holding = true;
  const Time period(random_.between(5, random_.chance(70) ? 100 : 5000));
  node.slack += period;
  later(period, [this, &node] {
    node.holding = false;
    if (!node.alive) return;
    if (tracing_) trace("the store of instance " + std::to_string(node.number) + " goes on");
    sim::view = &node.view;
    node.faulty.release();
  });
}

void World::act(const Action& action) {
  auto& node = *nodes_[static_cast<std::size_t>(action.node)];
  if (tracing_) trace(sim::describe(action));
  switch (action.act) {
    case Act::call:
      return call(node, action);
    case Act::crash:
      node.dies_at_step = node.steps + action.a;
      node.restarts_after = Time(action.b);
      return;
    case Act::stop:
      if (!node.alive) return;
      node.stands_still_until = std::max(node.stands_still_until, now() + Time(action.a));
      node.slack += Time(action.a);
      if (action.b) node.view.asleep += Time(action.a);
      later(Time(action.a), [] {});
      return;
    case Act::fail_writes:
      node.slack += Time(action.a);
      node.faulty.fail_writes(true);
      node.background.fail_writes(true);
      later(Time(action.a), [&node] {
        node.faulty.fail_writes(false);
        node.background.fail_writes(false);
      });
      return;
    case Act::fault_replace:
    case Act::fault_load:
      return inject(node, action);
    case Act::release:
      node.faulty.release();
      return;
    case Act::resolve:
      return resolve(action);
    case Act::remove:
      return remove(action);
  }
}

// --- callers ---------------------------------------------------------------------------------

void World::call(Node& node, const Action& action) {
  if (!node.alive) return;  // connection refused
  const auto number = static_cast<int>(calls_.size());
  calls_.push_back({number, action.key, true, &node});
  ++totals_.calls;
  auditor_.asked(number, action.key, now());
  asio::co_spawn(
      node.context,
      [this, &node, number, key = action.key, fingerprint = static_cast<int>(action.a)] {
        return client(node, number, key, fingerprint);
      },
      asio::detached);
}

Awaitable<> World::client(Node& node, int number, int key, int fingerprint) {
  Identity identity;
  identity.id = id_of(key);
  identity.fingerprint.fill(static_cast<std::uint8_t>(fingerprint));
  identity.source = KeySource::header;
  const auto& policy = scenario_.policy;
  std::shared_ptr<StoredRequest> request;
  if (!policy.upstream_key.empty() || policy.probe) {
    request = std::make_shared<StoredRequest>();
    if (!policy.upstream_key.empty()) request->target = "http://upstream/";
    if (policy.probe) request->probe = "http://upstream/?of=it";
  }
  GuardedCall guarded{identity, policy, "r", "POST", "http://upstream/", "", "", request};
  if (policy.probe) guarded.ask = [&](const Record& record) { return ask(node, key, record); };
  std::uint64_t generation = 0;
  auto admission = co_await node.guard.admit(guarded, [&](const Record& claimed) {
    generation = claimed.generation;
    return upstream_.exchange(key, claimed, node.context.get_executor());
  });
  if (auto* led = std::get_if<Led>(&admission))
    while (!led->execution->settled()) co_await led->execution->changed().wait();
  auto reply = reply_of(admission);
  reply.generation = generation;
  answered(node, number, key, reply);
}

void World::answered(const Node& node, int number, int key, const Reply& reply) {
  auto& mine = calls_[static_cast<std::size_t>(number)];
  mine.open = false;
  if (tracing_)
    trace("key " + std::to_string(key) + ": call " + std::to_string(number) + " at instance " +
          std::to_string(node.number) + " gets: " + describe(reply));
  auditor_.answered(number, reply, now(), node.slack);
}

Awaitable<Probed> World::ask(Node& node, int key, const Record& record) {
  Probed probed;
  const auto generation = record.generation;
  Timer timer(node.context.get_executor(), milliseconds(random_.below(300)));
  co_await timer.async_wait(use_result);
  if (random_.chance(20)) co_return probed;
  if (const auto body = upstream_.effect_of(key, generation)) {
    auto answer = std::make_shared<Answer>();
    answer->status = 200;
    answer->body = *body;
    probed.result = Probed::Result::happened;
    probed.answer = std::move(answer);
  } else {
    probed.result = Probed::Result::not_found;
  }
  const auto then = milliseconds(random_.below(300));
  timer.expires_after(then);
  co_await timer.async_wait(use_result);
  co_return probed;
}

// --- the store and people ------------------------------------------------------------------------

void World::written(const Digest& id, const MaybeRecord& record) {
  const int key = key_of(id);
  if (tracing_)
    trace("key " + std::to_string(key) + ": record " +
          (record ? std::string(to_string(record->state)) + ", claim " +
                        std::to_string(record->claim_version) + ", " +
                        (record->history.empty()
                             ? ""
                             : record->history.back().event + " " + record->history.back().detail)
                  : "deleted"));
  if (record)
    auditor_.wrote(key, written_of(*record, by_person_), now());
  else
    auditor_.deleted(key, now());
}

void World::resolve(const Action& action) {
  AnswerPtr answer;
  if (action.a == 2) {
    auto made = std::make_shared<Answer>();
    made->status = 200;
    made->body = "a person's answer";
    answer = std::move(made);
  }
  by_person_ = true;
  static_cast<void>(resolve_record(store_, id_of(action.key), {action.a > 0, answer}));
  by_person_ = false;
}

void World::remove(const Action& action) {
  static_cast<void>(delete_record(store_, id_of(action.key)));
}

}  // namespace ledger::sim
