#include "guard/decide.h"

#include <algorithm>

#include "fingerprint/text.h"

namespace ledger {
namespace {

// An execution that has not settled so long after its time-out has lost its owner, whatever the
// owner's lease says.
constexpr std::chrono::seconds settle_grace{30};
constexpr std::size_t by_max = 128;  // bytes of a person's name in the history
constexpr std::string_view lost_why =
    "the proxy that sent it stopped before the answer was recorded";

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

void note(Record& record, Instant now, std::string event, std::string detail) {
  record.updated_at = now;
  record.history.push_back({now, std::move(event), std::move(detail)});
  if (record.history.size() > history_max) record.history.erase(record.history.begin());
}

std::optional<Instant> after(Instant now, const std::optional<Duration>& ttl) {
  if (!ttl) return std::nullopt;
  return now + *ttl;
}

std::string status_text(const AnswerPtr& answer) {
  return answer ? "status " + std::to_string(answer->status) : std::string();
}

// --- transitions: each takes the record as it stands and gives the one to write ----------------

// A fresh execution: a new generation. What the key has lived through (its age, history and the
// effects that count towards `max`) stays, unless it had expired.
Record fresh(const Record* before, const Policy& policy, const Arrived& call, Instant now) {
  Record next;
  if (before) {
    next.created_at = before->created_at;
    next.effects = before->effects;
    next.history = before->history;
  } else {
    next.created_at = now;
  }
  next.id = call.id;
  next.route = call.route;
  next.method = call.method;
  next.url = call.url;
  next.agent = call.agent;
  next.run = call.run;
  next.fingerprint = call.identity->fingerprint;
  next.key_source = call.identity->source;
  next.key_text = shown_text(call.identity->key, key_text_max);
  next.label = call.identity->label;
  next.scope = call.identity->scope;
  next.request = call.request;
  next.owner = call.instance;
  next.ttl = policy.ttl;
  next.first_sent_at = now;
  next.ownerless_at = now + policy.timeout + settle_grace;
  note(next, now, "claimed", "");
  return next;
}

// Sends an in-doubt generation again, under the same upstream key. What was sent before may have
// had an effect: that stays known until an answer comes.
Record retried(const Record& record, const Policy& policy, const Arrived& call, Instant now) {
  Record next = record;
  next.state = State::in_flight;
  next.claim_version = 0;
  next.tainted = true;
  next.owner = call.instance;
  next.expires_at.reset();
  next.closed_at.reset();
  next.ownerless_at = now + policy.timeout + settle_grace;
  note(next, now, "claimed", "sent again under the same upstream key");
  return next;
}

// It is known what came of the call: nothing is kept for sending it again or asking about it.
Record known(const Record& record, State state, AnswerPtr answer, Instant now, std::string event,
             std::string detail) {
  Record next = record;
  next.state = state;
  next.answer = std::move(answer);
  next.request = nullptr;
  next.tainted = false;
  next.closed_at.reset();
  next.expires_at = after(now, record.ttl);
  note(next, now, std::move(event), std::move(detail));
  return next;
}

Record completed(const Record& record, AnswerPtr answer, Instant now, std::string event,
                 std::string detail) {
  auto next =
      known(record, State::completed, std::move(answer), now, std::move(event), std::move(detail));
  if (record.state == State::in_flight && !record.tainted) ++next.effects;
  return next;
}

Record released(const Record& record, AnswerPtr answer, Instant now, std::string event,
                std::string detail) {
  auto next =
      known(record, State::released, std::move(answer), now, std::move(event), std::move(detail));
  // In doubt, its effect was counted; now it is known that there was none.
  if (record.state == State::in_doubt && next.effects > 0) --next.effects;
  return next;
}

// `closed`: nothing of the call can reach the upstream any more.
Record doubted(const Record& record, const Policy& policy, AnswerPtr answer, Instant now,
               std::string event, std::string detail, bool closed = true) {
  Record next = record;
  next.closed_at = closed ? std::optional(now) : std::nullopt;
  if (record.state == State::in_flight && !record.tainted) ++next.effects;
  next.state = State::in_doubt;
  if (answer) next.answer = std::move(answer);
  next.expires_at = after(now, policy.in_doubt_ttl);
  note(next, now, std::move(event), std::move(detail));
  return next;
}

// --- events ------------------------------------------------------------------------------------

bool may_retry(const Record& record, const Policy& policy, Instant now) {
  return policy.when_in_doubt() == InDoubt::retry && record.request &&
         !record.request->target.empty() && now < record.first_sent_at + policy.upstream_key_ttl;
}

std::string why_in_doubt(const Record& record) {
  for (auto entry = record.history.rbegin(); entry != record.history.rend(); ++entry)
    if (!entry->detail.empty()) return entry->detail;
  return "no answer came";
}

Decision arrived(const Record* found, const Policy& policy, const Arrived& call, Instant now) {
  if (!found) return Execute{fresh(nullptr, policy, call, now), false};
  const Record& record = *found;
  if (record.state != State::in_flight && record.expired(now))
    return Execute{fresh(nullptr, policy, call, now), true};
  if (record.state == State::released) return Execute{fresh(found, policy, call, now), false};

  if (record.fingerprint != call.identity->fingerprint)
    return Refuse{problem::key_reused(record.state)};

  switch (record.state) {
    case State::in_flight:
      if (owner_lost(record, call.owner_alive, now))
        return Commit{doubted(record, policy, nullptr, now, "owner_lost", std::string(lost_why))};
      if (policy.on_in_flight == OnInFlight::refuse) return Refuse{problem::in_flight()};
      return Wait{};
    case State::completed:
      if (record.effects < policy.max) return Execute{fresh(found, policy, call, now), false};
      if (policy.on_duplicate == OnDuplicate::block) return Refuse{problem::duplicate_blocked()};
      if (!record.answer)
        return Refuse{problem::answer_not_stored("a person settled it without one")};
      if (!record.answer->body_stored)
        return Refuse{problem::answer_not_stored("it was longer than the route's `response_max`")};
      return Replay{record.answer, false};
    case State::in_doubt:
      if (may_retry(record, policy, now)) return Execute{retried(record, policy, call, now), false};
      // Only a 5xx says the same to everybody; a 4xx or 2xx would pass for "no" or "done".
      if (record.answer && record.answer->status / 100 == 5 && record.answer->body_stored)
        return Replay{record.answer, true};
      return Refuse{problem::in_doubt(why_in_doubt(record))};
    case State::released:
      break;
  }
  return Stale{};
}

// Nothing happened, says the end of this send. True of the send; of the record only where no
// earlier send of its generation is still in question.
Decision nothing_happened(const Record& record, const Policy& policy, AnswerPtr answer, Instant now,
                          std::string detail) {
  if (!record.tainted)
    return Commit{released(record, std::move(answer), now, "released", std::move(detail))};
  if (record.state == State::in_doubt) return Stale{};
  return Commit{
      doubted(record, policy, nullptr, now, "in_doubt",
              "an earlier sending may have had an effect; the retry ended with " + detail)};
}

// The connection of a call that timed out has ended, without the answer that was waited for. Only a
// probe wants to know.
Decision closed_late(const Record& record, bool timed_out, Instant now) {
  if (timed_out || record.closed_at || !record.request || record.request->probe.empty())
    return Stale{};
  Record next = record;
  next.closed_at = now;
  return Commit{std::move(next)};
}

Decision settled(const Record* found, const Policy& policy, const Settled& event, Instant now) {
  if (!found || found->claim_version != event.claim_version) return Stale{};
  const Record& record = *found;
  // in_doubt: a late answer of the right execution. Anything else is settled already.
  if (record.state != State::in_flight && record.state != State::in_doubt) return Stale{};
  return std::visit(
      Overloaded{
          [&](const Answered& o) -> Decision {
            return Commit{completed(record, o.answer, now, "completed", status_text(o.answer))};
          },
          [&](const Rejected& o) -> Decision {
            return nothing_happened(record, policy, o.answer, now, status_text(o.answer));
          },
          [&](const NotSent& o) -> Decision {
            return nothing_happened(record, policy, nullptr, now, "not sent: " + o.why);
          },
          [&](const Unknown& o) -> Decision {
            if (record.state == State::in_doubt && !o.answer)
              return closed_late(record, o.timed_out, now);
            return Commit{doubted(record, policy, o.answer, now, "in_doubt", o.why, !o.timed_out)};
          },
      },
      event.outcome);
}

Decision resolved(const Record* found, const Resolved& event, Instant now) {
  if (!found || found->state != State::in_doubt) return Stale{};
  std::string detail = event.executed ? "executed" : "not executed";
  if (!event.by.empty()) detail += ", by " + shown_text(event.by, by_max);
  if (event.executed)
    return Commit{completed(*found, event.answer, now, "resolved", std::move(detail))};
  return Commit{released(*found, nullptr, now, "resolved", std::move(detail))};
}

// "Not found" may be said too early: of a call that is still on its way, or not yet to be seen.
// What counts is when it was asked; the answer may have been long in coming.
Decision probed(const Record* found, const Policy& policy, const Probed& event, Instant now) {
  if (!found || found->state != State::in_doubt) return Stale{};
  if (event.result == Probed::Result::happened)
    return Commit{completed(*found, event.answer, now, "probed", event.detail)};
  if (event.result == Probed::Result::not_found && found->closed_at &&
      event.asked_at >= *found->closed_at + policy.settle_after())
    return Commit{released(*found, nullptr, now, "probed", event.detail)};
  return Stale{};
}

Decision lost(const Record* found, const Policy& policy, Instant now) {
  if (!found || found->state != State::in_flight) return Stale{};
  return Commit{doubted(*found, policy, nullptr, now, "owner_lost", std::string(lost_why))};
}

}  // namespace

Decision decide(const Record* record, const Policy& policy, const Event& event, Instant now) {
  return std::visit(Overloaded{
                        [&](const Arrived& e) { return arrived(record, policy, e, now); },
                        [&](const Settled& e) { return settled(record, policy, e, now); },
                        [&](const Resolved& e) { return resolved(record, e, now); },
                        [&](const Probed& e) { return probed(record, policy, e, now); },
                        [&](const OwnerLost&) { return lost(record, policy, now); },
                    },
                    event);
}

bool owner_lost(const Record& record, bool owner_alive, Instant now) {
  return record.state == State::in_flight && (!owner_alive || now >= record.ownerless_at);
}

Verdict verdict_of(int status, const Headers& headers, const Policy& policy) {
  const bool retry_after = std::any_of(headers.begin(), headers.end(), [](const auto& h) {
    return same_text(h.first, "retry-after");
  });
  return policy.outcomes.of(status, retry_after, !policy.upstream_key.empty());
}

Outcome outcome_of(AnswerPtr answer, const Policy& policy) {
  const auto verdict = verdict_of(answer->status, answer->headers, policy);
  if (verdict == Verdict::completed) return Answered{std::move(answer)};
  if (verdict == Verdict::released) return Rejected{std::move(answer)};
  auto why = status_text(answer);
  return Unknown{std::move(why), std::move(answer)};
}

std::string upstream_key(const Record& record) {
  FieldHash hash;
  hash.add("upstream-key-v1");
  hash.add(std::string_view(reinterpret_cast<const char*>(record.id.data()), record.id.size()));
  hash.add(std::to_string(record.generation));
  return to_hex(hash.finish());
}

}  // namespace ledger
