#include "guard/guard.h"

#include <boost/asio/this_coro.hpp>

#include "guard/crash_point.h"

namespace ledger {
namespace {

using std::chrono::milliseconds;

// How a call waits for an execution of another instance: it asks the store, ever less often.
constexpr milliseconds poll_min{20}, poll_max{250};

// What came of an execution, as its record tells those who waited for it. nullopt: it still runs.
std::optional<Outcome> outcome_of_record(const Record& record) {
  const auto last = record.history.empty() ? std::string() : record.history.back().detail;
  switch (record.state) {
    case State::completed:
      if (record.answer) return Answered{record.answer};
      return std::nullopt;  // a person settled it: the record's own refusal says so
    case State::released:
      if (record.answer) return Rejected{record.answer};
      return NotSent{last};
    case State::in_doubt:
      // Its owner died, so nothing came of it: the record says what is next, to all alike.
      if (!record.history.empty() && record.history.back().event == "owner_lost")
        return std::nullopt;
      return Unknown{last, record.answer};
    case State::in_flight:
      break;
  }
  return std::nullopt;
}

// Is the call answered by a doubt that the upstream might dispel?
bool is_in_doubt(const Decision& decision) {
  if (const auto* replay = std::get_if<Replay>(&decision)) return replay->in_doubt;
  const auto* refuse = std::get_if<Refuse>(&decision);
  return refuse != nullptr && refuse->problem.ledger_status == to_string(CallStatus::in_doubt);
}

Refused joined(Problem problem) {
  problem.ledger_status = to_string(CallStatus::joined);
  return Refused{std::move(problem)};
}

// What those who joined get: the answer, or where it was too long to keep, what it said.
Admission joined(const AnswerPtr& answer, Problem if_not_stored) {
  if (answer->body_stored) return Given{answer, CallStatus::joined};
  return joined(std::move(if_not_stored));
}

CallStatus status_of(const Problem& problem) {
  for (std::size_t i = 0; i < call_status_names.size(); ++i)
    if (call_status_names[i] == problem.ledger_status) return static_cast<CallStatus>(i);
  return CallStatus::refused;
}

}  // namespace

Admission Guard::share(const Outcome& outcome) {
  if (auto* o = std::get_if<Answered>(&outcome))
    return joined(o->answer,
                  problem::answer_not_stored("it was longer than the route's `response_max`"));
  if (auto* o = std::get_if<Rejected>(&outcome))
    return joined(o->answer, problem::rejection_not_stored(o->answer->status));
  if (auto* o = std::get_if<NotSent>(&outcome))
    return joined(problem::not_reached(o->reason, o->why));
  const auto& unknown = std::get<Unknown>(outcome);
  auto doubt = problem::outcome_unknown(unknown.why, unknown.timed_out);
  if (unknown.answer) return joined(unknown.answer, std::move(doubt));
  return joined(std::move(doubt));
}

Awaitable<Admission> Guard::admit(const GuardedCall& call, const MakeExchange& make_exchange) {
  if (auto admission = recalled(call)) co_return std::move(*admission);
  const auto deadline = SteadyClock::now() + call.policy.wait;
  for (;;) {
    auto place = table_.join(call.identity.id);
    if (place.lead) co_return co_await lead(call, make_exchange, std::move(place.lead), deadline);
    // Nothing to share (the key became free, or runs elsewhere): ask for the lead.
    if (auto admission = co_await follow(call, std::move(place.follow), deadline))
      co_return std::move(*admission);
  }
}

Awaitable<bool> Guard::is_record_id(const Identity& identity) {
  const auto id = pasted_id(identity);
  if (!id) co_return false;
  const auto found = co_await load(*id);
  co_return found && found->record && found->record->scope == identity.scope;
}

std::optional<Admission> Guard::recalled(const GuardedCall& call) {
  const auto found = store_.recall(call.identity.id);
  if (!found) return std::nullopt;
  const std::string instance;
  auto decision =
      decide(found->record.get(), call.policy, arrived(call, false, instance), store_.now());
  return from_record(call, decision, found->record->counts.attempts);
}

// The first call of its key in this process: claims it, or finds why not.
Awaitable<Admission> Guard::lead(const GuardedCall& call, const MakeExchange& make_exchange,
                                 InFlight::Entry entry, SteadyClock::time_point deadline) {
  const Executor executor = co_await asio::this_coro::executor;
  const std::string instance = lease_.instance();
  // Most keys are new: the first try assumes so, and the store's conflict tells what there is.
  Found found{std::nullopt, store_.now(), false};
  milliseconds pause = poll_min;
  bool waited = false, asked = false;
  for (;;) {
    if (waited && found.record && found.record->fingerprint == call.identity.fingerprint)
      if (auto outcome = outcome_of_record(*found.record)) {
        entry.finish(Shared{*outcome, found.record->fingerprint});
        co_return counted(call, share(*outcome), found.record->counts.attempts);
      }
    Decision decision = decide(found.record.get(), call.policy,
                               arrived(call, found.owner_alive, instance), found.now);

    Replace write;
    write.id = call.identity.id;
    write.expected_version = found.record ? found.record->version : 0;
    if (auto* execute = std::get_if<Execute>(&decision)) {
      write.next = std::move(execute->next);
      write.add = {.attempts = 1, .executed = 1};
      write.reset_counts = execute->reset_counts;
      const bool first = write.expected_version == 0 || write.reset_counts;
      crash_point("before-claim");
      auto written = co_await replace(std::move(write));
      if (!written) {
        entry.finish(StoreFailed{written.error()});
        co_return store_failed(written.error());
      }
      if (written->swapped) {
        crash_point("claimed");
        co_return launch(call, make_exchange, std::move(entry), executor, std::move(written->found),
                         first);
      }
      found = std::move(written->found);
    } else if (auto* commit = std::get_if<Commit>(&decision)) {
      write.next = std::move(commit->next);
      auto written = co_await replace(std::move(write));
      if (!written) {
        entry.finish(StoreFailed{written.error()});
        co_return store_failed(written.error());
      }
      if (written->swapped && written->found.record &&
          written->found.record->state == State::in_doubt)
        doubted(*written->found.record);
      found = std::move(written->found);
      waited = false;  // the owner is lost: this call is answered by the record, it shares nothing
    } else if (std::holds_alternative<Wait>(decision)) {
      // Another instance executes it.
      const auto now = SteadyClock::now();
      const auto stored = found.record->counts.attempts;
      if (now >= deadline) {
        entry.finish(LookedUp{std::move(found)});
        co_return counted(call, Refused{problem::in_flight()}, stored);
      }
      Timer timer(executor, std::min(now + pause, deadline));
      co_await timer.async_wait(use_result);
      pause = std::min(pause * 2, poll_max);
      waited = true;
      auto loaded = co_await load(call.identity.id);
      if (!loaded) {
        entry.finish(StoreFailed{loaded.error()});
        co_return store_failed(loaded.error());
      }
      found = std::move(*loaded);
    } else if (call.ask && !asked && is_in_doubt(decision)) {
      asked = true;
      const auto asked_at = store_.now();
      auto probed = co_await call.ask(*found.record);
      probed.asked_at = asked_at;
      auto verdict = decide(found.record.get(), call.policy, probed, store_.now());
      auto* settled = std::get_if<Commit>(&verdict);
      if (settled == nullptr) continue;
      write.next = std::move(settled->next);
      auto written = co_await replace(std::move(write));
      if (!written) {
        entry.finish(StoreFailed{written.error()});
        co_return store_failed(written.error());
      }
      found = std::move(written->found);
    } else {
      const auto stored = found.record ? found.record->counts.attempts : 0;
      entry.finish(LookedUp{std::move(found)});
      co_return *from_record(call, decision, stored);
    }
  }
}

// Another call of this process leads the key: waits for what it finds. nullopt: ask for the lead.
Awaitable<std::optional<Admission>> Guard::follow(const GuardedCall& call, InFlight::WorkPtr work,
                                                  SteadyClock::time_point deadline) {
  const auto& mine = call.identity.fingerprint;
  constexpr std::uint64_t leader = 1;  // attempts before this one, at least
  if (auto theirs = InFlight::executing(work)) {
    if (*theirs != mine)
      co_return counted(call, Refused{problem::key_reused(State::in_flight)}, leader);
    if (call.policy.on_in_flight == OnInFlight::refuse)
      co_return counted(call, Refused{problem::in_flight()}, leader);
  }
  metrics_.waiters.fetch_add(1, std::memory_order_relaxed);
  const auto finding = co_await InFlight::wait(std::move(work), deadline);
  metrics_.waiters.fetch_sub(1, std::memory_order_relaxed);

  if (!finding) co_return counted(call, Refused{problem::in_flight()}, leader);
  if (auto* shared = std::get_if<Shared>(finding.get())) {
    if (shared->fingerprint == mine) co_return counted(call, share(shared->outcome), leader);
    co_return std::nullopt;  // another call under this explicit key: the record decides
  }
  if (auto* failed = std::get_if<StoreFailed>(finding.get())) co_return store_failed(failed->error);
  const auto& found = std::get<LookedUp>(*finding).found;
  const std::string instance;
  auto decision = decide(found.record.get(), call.policy,
                         arrived(call, found.owner_alive, instance), found.now);
  co_return from_record(call, decision, found.record->counts.attempts);
}

Led Guard::launch(const GuardedCall& call, const MakeExchange& make_exchange, InFlight::Entry entry,
                  const Executor& executor, Found found, bool first) {
  auto& record = *found.record;
  const auto attempt =
      first ? attempts_.first(record.id) : attempts_.next(record.id, record.counts.attempts - 1);
  entry.executing(record.fingerprint);
  auto exchange = make_exchange(record);
  auto execution = std::make_shared<Execution>(executor, *this, std::move(record), call.policy,
                                               std::move(exchange), std::move(entry));
  execution->launch();
  return Led{std::move(execution), attempt};
}

Arrived Guard::arrived(const GuardedCall& call, bool owner_alive,
                       const std::string& instance) const {
  Arrived event;
  event.id = call.identity.id;
  event.identity = &call.identity;
  event.route = call.route;
  event.method = call.method;
  event.url = call.url;
  event.agent = call.agent;
  event.run = call.run;
  event.instance = instance;
  event.owner_alive = owner_alive;
  event.request = call.request;
  return event;
}

// What the record itself answers. nullopt: the decision is another.
std::optional<Admission> Guard::from_record(const GuardedCall& call, Decision& decision,
                                            std::uint64_t stored) {
  if (auto* replay = std::get_if<Replay>(&decision))
    return counted(
        call, Given{replay->answer, replay->in_doubt ? CallStatus::in_doubt : CallStatus::replayed},
        stored);
  if (auto* refuse = std::get_if<Refuse>(&decision))
    return counted(call, Refused{std::move(refuse->problem)}, stored);
  return std::nullopt;
}

// Counts a call that did not execute, in the store (written behind) and for its Ledger-Attempt.
Admission Guard::counted(const GuardedCall& call, Admission admission, std::uint64_t stored) {
  const auto& id = call.identity.id;
  auto* const refused = std::get_if<Refused>(&admission);
  if (refused && status_of(refused->problem) == CallStatus::mismatch) {
    // Another call under this one's key: none of its attempts.
    store_.count({{id, Counts{.mismatched = 1}}}, {});
    return admission;
  }
  const auto attempt = attempts_.next(id, stored);
  Counts add{.attempts = 1};
  auto status = CallStatus::refused;
  if (auto* given = std::get_if<Given>(&admission)) {
    given->attempt = attempt;
    status = given->status;
  } else if (refused) {
    refused->attempt = attempt;
    status = status_of(refused->problem);
  }
  if (status == CallStatus::replayed) add.replayed = 1;
  if (status == CallStatus::joined) add.joined = 1;
  store_.count({{id, add}}, {});
  return admission;
}

void Guard::store_failing(const StoreError& error, bool refused) {
  metrics_.store_errors.fetch_add(1, std::memory_order_relaxed);
  if (journal_ != nullptr) journal_->store_failed(error.message, refused);
}

Admission Guard::store_failed(const StoreError& error) {
  store_failing(error, true);
  return Refused{problem::store_unavailable(error.message)};
}

Awaitable<tl::expected<Replaced, StoreError>> Guard::replace(Replace write) {
  using Result = tl::expected<Replaced, StoreError>;
  began();
  return await_callback<Result>(
      [this, write = std::move(write)](std::function<void(Result)> done) mutable {
        store_.replace(std::move(write), [this, done = std::move(done)](Result result) {
          if (result && journal_ != nullptr) journal_->store_works();
          done(std::move(result));
          ended();
        });
      });
}

Awaitable<tl::expected<Found, StoreError>> Guard::load(const Digest& id) {
  using Result = tl::expected<Found, StoreError>;
  began();
  return await_callback<Result>([this, id](std::function<void(Result)> done) {
    store_.load(id, [this, done = std::move(done)](Result result) {
      done(std::move(result));
      ended();
    });
  });
}

Awaitable<AnswerPtr> Guard::recorded_answer(const Digest& id) {
  auto found = co_await load(id);
  if (!found || !found->record) co_return nullptr;
  co_return found->record->answer;
}

void Guard::quiesce() {
  table_.close();
  memory_.close();
  std::unique_lock lock(pending_mutex_);
  none_pending_.wait(lock, [this] { return pending_ == 0; });
}

void Guard::began() {
  std::lock_guard lock(pending_mutex_);
  ++pending_;
}

void Guard::ended() {
  // Under the lock: once quiesce() sees none pending, nobody touches this object any more.
  std::lock_guard lock(pending_mutex_);
  if (--pending_ == 0) none_pending_.notify_all();
}

}  // namespace ledger
