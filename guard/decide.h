// Everything about exactly-once, in one function without I/O: the state machine of a record.
// The contract's tables (sections 1 and 2) are this function; docs/promise.md shows them.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "config/policy.h"
#include "guard/problem.h"
#include "store/record.h"

namespace ledger {

// --- what happened ----------------------------------------------------------------------------

// A call asks for the key.
struct Arrived {
  Digest id{};
  const Identity* identity = nullptr;
  std::string_view route, method, url, agent, run, instance;
  bool owner_alive = false;  // of an in_flight record, as the store saw it
  StoredRequestPtr request;  // what a retry would send; null where the route keeps none
};

// How an execution ended.
struct Answered {
  AnswerPtr answer;
};  // complete, final
struct Rejected {
  AnswerPtr answer;
};  // complete, says that nothing happened
struct NotSent {
  std::string why;
  NotReached reason = NotReached::failed;
};  // no byte of the request left
struct Unknown {
  std::string why;
  AnswerPtr answer = nullptr;
  bool timed_out = false;  // the route's `timeout` passed
};                         // anything else; the answer if one came whole
using Outcome = std::variant<Answered, Rejected, NotSent, Unknown>;

// The execution that was started by the claim `claim_version` ended.
struct Settled {
  std::uint64_t claim_version = 0;
  Outcome outcome;
};
// A person (or a probe) knows what became of an in-doubt record.
struct Resolved {
  bool executed = false;
  AnswerPtr answer;
  std::string by{};  // who says so; goes into the history
};
// The upstream was asked whether the call of an in-doubt record happened.
struct Probed {
  enum class Result : std::uint8_t { happened, not_found, unclear } result = Result::unclear;
  AnswerPtr answer;  // happened: what a repeat gets
  std::string detail;
  Instant asked_at{};  // when the question went out: "not found" was true between then and now
};
// The owner of an in-flight record is dead, or the record is past ownerless_at.
struct OwnerLost {};

using Event = std::variant<Arrived, Settled, Resolved, Probed, OwnerLost>;

// --- what to do -------------------------------------------------------------------------------

struct Execute {
  Record next;
  bool reset_counts = false;
};  // claim `next`, then send
struct Replay {
  AnswerPtr answer;
  bool in_doubt = false;
};               // give the recorded answer
struct Wait {};  // another call is executing: share its outcome
struct Commit {
  Record next;
};  // write `next` (Arrived: then decide again)
struct Refuse {
  Problem problem;
};                // answer with this problem
struct Stale {};  // the fence holds: this event has nothing to say
using Decision = std::variant<Execute, Replay, Wait, Commit, Refuse, Stale>;

// `record`: nullptr where there is none.
Decision decide(const Record* record, const Policy& policy, const Event& event, Instant now);

// Is there nobody any more who could settle this record? `owner_alive`: as the store saw it.
bool owner_lost(const Record& record, bool owner_alive, Instant now);

// What a complete response means under this policy.
Verdict verdict_of(int status, const Headers& headers, const Policy& policy);
Outcome outcome_of(AnswerPtr answer, const Policy& policy);

// The value of the upstream's idempotency header: 64 hex digits of H(record id, generation).
std::string upstream_key(const Record& record);

}  // namespace ledger
