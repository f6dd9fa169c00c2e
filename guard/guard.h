// The way of a guarded call through its record: claim it, wait with others for it, or be answered
// from it. decide() says which; this room asks the store and keeps the waiters.
//
// Threads: one Guard a process, used by all; each call and its execution stay on their io_context.
#pragma once

#include <condition_variable>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <variant>

#include "guard/attempts.h"
#include "guard/execution.h"
#include "guard/in_flight.h"
#include "guard/journal.h"
#include "guard/lease.h"
#include "guard/memory_budget.h"
#include "guard/metrics.h"
#include "store/store.h"

namespace ledger {

// A call at the guard. Views and references live until admit() returns; `policy` as long as the
// Guard.
struct GuardedCall {
  const Identity& identity;
  const Policy& policy;
  std::string_view route, method, url, agent, run;
  StoredRequestPtr request;  // what `in_doubt: retry` would send again; null: nothing
  // Asks the upstream whether the call of an in-doubt record happened; empty: it cannot be asked.
  using Ask = std::function<Awaitable<Probed>(const Record& record)>;
  Ask ask = nullptr;
};

// This call executes: watch the execution.
struct Led {
  std::shared_ptr<Execution> execution;
  std::uint64_t attempt = 0;
};
// This call is answered with an answer that another one got.
struct Given {
  AnswerPtr answer;
  CallStatus status = CallStatus::replayed;  // replayed, joined or in_doubt
  std::uint64_t attempt = 0;
};
struct Refused {
  Problem problem;
  std::uint64_t attempt = 0;  // 0: not counted
};
using Admission = std::variant<Led, Given, Refused>;

class Guard {
 public:
  // `memory_max`: what calls may hold together. `journal` may be null.
  Guard(Store& store, Metrics& metrics, Lease& lease,
        std::size_t memory_max = std::numeric_limits<std::size_t>::max(),
        Journal* journal = nullptr)
      : store_(store),
        metrics_(metrics),
        lease_(lease),
        memory_(memory_max, metrics),
        journal_(journal) {}
  ~Guard() { quiesce(); }

  // Makes the exchange for a claimed record (whose `request`, if there is one, is what to send).
  using MakeExchange = std::function<std::unique_ptr<Exchange>(const Record& claimed)>;
  Awaitable<Admission> admit(const GuardedCall& call, const MakeExchange& make_exchange);
  // What admit() asks first, without a coroutine: the answer that the store remembers in memory.
  // nullopt: it must be asked.
  std::optional<Admission> recalled(const GuardedCall& call);

  // Is this call's key the id of a record of its own scope: the Ledger-Record of an earlier answer,
  // given back where a key is asked for?
  Awaitable<bool> is_record_id(const Identity& identity);
  // The answer that a record keeps; null where it keeps none, or the store fails.
  Awaitable<AnswerPtr> recorded_answer(const Digest& id);

  // What came of a shared outcome, for a call that did not execute.
  static Admission share(const Outcome& outcome);

  // --- for executions ------------------------------------------------------------------------
  Awaitable<tl::expected<Replaced, StoreError>> replace(Replace write);
  bool lease_stands(const Record& claimed) const { return lease_.stands(claimed.owner); }
  Instant now() { return store_.now(); }
  Metrics& metrics() { return metrics_; }
  MemoryBudget& memory() { return memory_; }
  void doubted(const Record& record) {
    if (journal_ != nullptr) journal_->doubt(record);
  }
  void store_failing(const StoreError& error, bool refused);

  // Once the threads have stopped: no waiter is woken any more, and no store call is under way.
  void quiesce();

 private:
  Awaitable<Admission> lead(const GuardedCall& call, const MakeExchange& make_exchange,
                            InFlight::Entry entry, SteadyClock::time_point deadline);
  Awaitable<std::optional<Admission>> follow(const GuardedCall& call, InFlight::WorkPtr work,
                                             SteadyClock::time_point deadline);
  Awaitable<tl::expected<Found, StoreError>> load(const Digest& id);
  Led launch(const GuardedCall& call, const MakeExchange& make_exchange, InFlight::Entry entry,
             const Executor& executor, Found found, bool first);
  Arrived arrived(const GuardedCall& call, bool owner_alive, const std::string& instance) const;
  std::optional<Admission> from_record(const GuardedCall& call, Decision& decision,
                                       std::uint64_t stored);
  Admission counted(const GuardedCall& call, Admission admission, std::uint64_t stored);
  Admission store_failed(const StoreError& error);

  Store& store_;
  Metrics& metrics_;
  Lease& lease_;
  MemoryBudget memory_;
  Journal* journal_;
  InFlight table_;
  Attempts attempts_;

  void began();
  void ended();
  std::mutex pending_mutex_;
  std::condition_variable none_pending_;
  int pending_ = 0;  // store calls under way; guarded by pending_mutex_
};

}  // namespace ledger
