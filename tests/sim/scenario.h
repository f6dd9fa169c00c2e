// What happens in one simulated history, drawn from its seed: the route's policy, the instances and
// their clocks, and a list of actions. Actions can be left out one by one (that is how a failure is
// shrunk), without a change to what the others do.
#pragma once

#include <string>
#include <vector>

#include "config/policy.h"
#include "tests/sim/auditor.h"

namespace ledger::sim {

enum class Act : std::uint8_t {
  call,           // somebody asks `node` for `key`; a: its fingerprint
  crash,          // the instance dies after its a-th step from now on; is started again b ms later
  stop,           // stands still for a ms; b: 1 = the whole machine slept
  fail_writes,    // its store refuses writes for a ms
  fault_replace,  // the a-th next replace() gets Fault b
  fault_load,     // the a-th next load() gets Fault b
  release,        // what its store holds back goes on
  resolve,  // a person settles `key`; a: 0 not executed, 1 executed, 2 executed with an answer
  remove    // a person deletes `key`
};
struct Action {
  Time at{0};
  Act act = Act::call;
  int node = 0, key = 0;
  std::uint64_t a = 0, b = 0;
};

// How the upstream treats the n-th sending of a key.
struct Plan {
  enum class Kind : std::uint8_t {
    answer,        // takes effect and answers
    slow_answer,   // the same in pieces
    late_answer,   // the same, after the time-out
    no_answer,     // takes effect and is never heard of again
    reset,         // takes effect, then the connection breaks
    truncate,      // takes effect, then the answer breaks off
    fail,          // takes effect, then answers 500, 503 or 408
    fail_clean,    // 500, and nothing happened
    reject,        // 4xx (whatever its key), or 503 with Retry-After
    lose,          // the connection breaks, and nothing arrives
    lose_and_find  // the connection breaks, and it arrives later all the same
  } kind = Kind::answer;
  int status = 200;
  Time arrives{0}, takes{0}, answers{0};  // each after the one before
};
// What connecting comes to.
struct Dial {
  Time takes{0};
  bool fails = false, lasting = false;
};

struct Scenario {
  std::uint64_t seed = 0;
  Policy policy;
  bool honours = false;
  int nodes = 1, keys = 1;
  std::vector<Action> actions;
  bool calm_wire = false;  // every sending succeeds (shrinking tries that first)

  static Scenario from(std::uint64_t seed);
  Rules rules() const;
  Plan plan(int key, int sending) const;
  Dial dial(int key, int dialling) const;
  std::string describe() const;
};

std::string describe(const Action& action);

}  // namespace ledger::sim
