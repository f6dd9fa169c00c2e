#include "tests/sim/scenario.h"

#include <algorithm>

#include "tests/sim/random.h"

namespace ledger::sim {
namespace {

using std::chrono::milliseconds;

enum Stream : std::uint64_t { policies = 1, actions_stream, plans, dials };

milliseconds pick(Random& random, std::initializer_list<int> values) {
  return milliseconds(values.begin()[random.below(values.size())]);
}

Policy policy_from(Random& random) {
  Policy p;
  p.max = random.chance(20) ? static_cast<std::uint32_t>(random.between(2, 3)) : 1;
  p.timeout = pick(random, {500, 1000, 3000, 5000});
  p.wait = pick(random, {0, 100, 1000, 6000, 20000});
  p.ttl = random.chance(40) ? std::optional(pick(random, {500, 3000, 15000})) : std::nullopt;
  if (random.chance(20)) p.in_doubt_ttl = pick(random, {1000, 5000, 20000});
  if (random.chance(15)) p.on_duplicate = OnDuplicate::block;
  if (random.chance(15)) p.on_in_flight = OnInFlight::refuse;
  if (random.chance(10)) p.response_max = 4;
  p.retries = static_cast<std::uint32_t>(random.below(3));
  if (random.chance(25)) p.probe = std::make_shared<const ProbeRule>();
  return p;
}

Action action_from(Random& random, const Scenario& s, milliseconds horizon) {
  Action action;
  action.at = milliseconds(random.below(static_cast<std::uint64_t>(horizon.count())));
  action.node = static_cast<int>(random.below(static_cast<std::uint64_t>(s.nodes)));
  action.key = static_cast<int>(random.below(static_cast<std::uint64_t>(s.keys)));
  const auto dice = random.below(100);
  if (dice < 25) {
    action.act = Act::crash;
    action.a = random.between(1, 40);
    action.b = random.chance(50) ? random.below(200) : random.below(20'000);
  } else if (dice < 40) {
    action.act = Act::stop;
    action.a = random.chance(50) ? random.below(3000) : random.between(7'000, 30'000);
    action.b = random.below(2);
  } else if (dice < 48) {
    action.act = Act::fail_writes;
    action.a = random.chance(80) ? random.below(8000) : random.below(60'000);
  } else if (dice < 70) {
    action.act = Act::fault_replace;
    action.a = random.between(1, 6);
    action.b = random.below(5);
  } else if (dice < 76) {
    action.act = Act::fault_load;
    action.a = random.between(1, 3);
    action.b = random.below(5);
  } else if (dice < 90) {
    action.act = Act::resolve;
    action.a = random.below(3);
  } else {
    action.act = Act::remove;
  }
  return action;
}

}  // namespace

Scenario Scenario::from(std::uint64_t seed) {
  Scenario s;
  s.seed = seed;
  Random random(seed, policies);
  s.policy = policy_from(random);
  s.nodes = static_cast<int>(random.between(random.chance(15) ? 1 : 2, 5));
  s.keys = random.chance(75) ? 1 : 2;
  if (random.chance(45)) {
    s.policy.upstream_key = "Idempotency-Key";
    s.honours = true;
    if (random.chance(15)) s.policy.in_doubt = InDoubt::hold;
    if (random.chance(15)) s.policy.upstream_key_ttl = pick(random, {2000, 12000});
  } else {
    s.honours = random.chance(30);  // but is given no key
  }

  Random draw(seed, actions_stream);
  const milliseconds horizon = pick(draw, {300, 2000, 10'000, 40'000});
  for (auto calls = draw.between(1, 8); calls > 0; --calls) {
    Action call;
    call.at = draw.chance(50)
                  ? milliseconds(draw.below(30))
                  : milliseconds(draw.below(static_cast<std::uint64_t>(horizon.count())));
    call.node = static_cast<int>(draw.below(static_cast<std::uint64_t>(s.nodes)));
    call.key = static_cast<int>(draw.below(static_cast<std::uint64_t>(s.keys)));
    call.a = draw.chance(8) ? 1 : 0;
    s.actions.push_back(call);
  }
  for (auto others = draw.below(7); others > 0; --others)
    s.actions.push_back(action_from(draw, s, horizon));
  // At the end somebody asks once more, soon and long after.
  for (int key = 0; key < s.keys; ++key)
    for (const int after : {1000, 45'000})
      s.actions.push_back({horizon + milliseconds(after), Act::call,
                           static_cast<int>(draw.below(static_cast<std::uint64_t>(s.nodes))), key,
                           0, 0});
  std::stable_sort(s.actions.begin(), s.actions.end(),
                   [](const Action& a, const Action& b) { return a.at < b.at; });
  return s;
}

Rules Scenario::rules() const {
  Rules rules;
  rules.max = policy.max;
  rules.ttl = policy.ttl;
  rules.in_doubt_ttl = policy.in_doubt_ttl;
  rules.sends_again =
      !policy.upstream_key.empty() && policy.in_doubt.value_or(InDoubt::retry) == InDoubt::retry;
  rules.honoured = rules.sends_again && honours;
  rules.wait = policy.wait;
  rules.timeout = policy.timeout;
  return rules;
}

Plan Scenario::plan(int key, int sending) const {
  using Kind = Plan::Kind;
  Plan plan;
  if (calm_wire) return plan;
  Random random(seed, plans + static_cast<std::uint64_t>(key) * 16,
                static_cast<std::uint64_t>(sending));
  constexpr Kind kinds[] = {Kind::answer,     Kind::answer, Kind::answer,      Kind::answer,
                            Kind::answer,     Kind::answer, Kind::slow_answer, Kind::late_answer,
                            Kind::no_answer,  Kind::reset,  Kind::truncate,    Kind::fail,
                            Kind::fail_clean, Kind::reject, Kind::lose,        Kind::lose_and_find};
  plan.kind = kinds[random.below(std::size(kinds))];
  plan.arrives = milliseconds(random.chance(90) ? random.below(20) : random.below(2000));
  plan.takes = milliseconds(random.chance(80) ? random.below(20) : random.below(1500));
  plan.answers = milliseconds(random.chance(80) ? random.below(20) : random.below(1500));
  const auto timeout = static_cast<std::uint64_t>(policy.timeout.count());
  if (plan.kind == Kind::late_answer)
    plan.answers = milliseconds(random.between(timeout / 2, timeout * 3));
  // After the break; a probe may believe "not found" once settle_after has passed.
  if (plan.kind == Kind::lose_and_find)
    plan.takes = milliseconds(random.below(policy.probe ? timeout : 20'000));
  constexpr int failed[] = {500, 503, 408}, refused[] = {400, 401, 402, 503};
  if (plan.kind == Kind::fail) plan.status = failed[random.below(3)];
  if (plan.kind == Kind::fail_clean) plan.status = 500;
  if (plan.kind == Kind::reject) plan.status = refused[random.below(4)];
  return plan;
}

Dial Scenario::dial(int key, int dialling) const {
  Dial dial;
  if (calm_wire) return dial;
  Random random(seed, dials + static_cast<std::uint64_t>(key) * 16,
                static_cast<std::uint64_t>(dialling));
  dial.takes = milliseconds(random.chance(95) ? random.below(20) : random.below(8000));
  dial.fails = random.chance(10);
  dial.lasting = random.chance(30);
  return dial;
}

std::string describe(const Action& action) {
  static constexpr const char* names[] = {"call",        "crash",         "stop",
                                          "fail_writes", "fault_replace", "fault_load",
                                          "release",     "resolve",       "delete"};
  return std::string(names[static_cast<int>(action.act)]) + " at " +
         std::to_string(action.at.count()) + " ms, instance " + std::to_string(action.node) +
         ", key " + std::to_string(action.key) + ", " + std::to_string(action.a) + " " +
         std::to_string(action.b);
}

std::string Scenario::describe() const {
  const auto ms = [](const std::optional<Duration>& d) {
    return d ? std::to_string(d->count()) + " ms" : std::string("forever");
  };
  return std::to_string(nodes) + " instances, max " + std::to_string(policy.max) + ", " +
         (policy.when_in_doubt() == InDoubt::retry ? "retry" : "hold") +
         (policy.probe ? ", probe" : "") + ", timeout " + ms(policy.timeout) + ", wait " +
         ms(policy.wait) + ", ttl " + ms(policy.ttl) + ", in_doubt_ttl " + ms(policy.in_doubt_ttl) +
         (policy.on_duplicate == OnDuplicate::block ? ", block" : "") +
         (policy.on_in_flight == OnInFlight::refuse ? ", refuse" : "") +
         (honours ? ", the upstream honours keys" : "");
}

}  // namespace ledger::sim
