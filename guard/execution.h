// An execution: the sending of a call under a claim, again where that is safe and tells more. It
// runs on its own, outlives its client, and settles its record; the leader's session only watches
// it.
//
// Threads: all of it on the io_context where it was started, except finish_waiters (see
// in_flight.h).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "guard/async.h"
#include "guard/decide.h"
#include "guard/exchange.h"
#include "guard/in_flight.h"
#include "guard/memory_budget.h"

namespace ledger {

class Guard;

// The answer as it arrives, watched by the leader's session.
class Execution : public std::enable_shared_from_this<Execution> {
 public:
  Execution(const Executor& executor, Guard& guard, Record claimed, const Policy& policy,
            std::unique_ptr<Exchange> exchange, InFlight::Entry entry);
  ~Execution();

  // Starts it, detached: it holds itself until its record is settled and the late window is over.
  void launch();

  // --- what the leader sees. Wait on changed() and look again. -------------------------------
  Condition& changed() { return changed_; }
  // The head is there, and part of the body may be: it may be given on.
  const std::optional<AnswerHead>& head() const { return head_; }
  bool streaming() const { return streaming_; }
  // The outcome is settled, durably; nothing more comes. nullopt while it runs.
  const std::optional<Outcome>& settled() const { return told_; }
  // Body bytes that have arrived from `from` on; the view holds until the next suspension. Beyond
  // response_max the execution keeps only what the leader has not taken yet.
  std::string_view body(std::uint64_t from) const;
  std::uint64_t received() const { return dropped_ + text().size(); }
  // The whole body has arrived (not yet durable).
  bool whole() const { return whole_; }
  // The leader has taken everything before `position`, or (detach) takes nothing more.
  void taken(std::uint64_t position);
  void detach();

  const Record& record() const { return record_; }
  // May a byte of the request have left?
  bool sent() const { return sending_; }

 private:
  Awaitable<> run();
  Awaitable<Outcome> exchange_call();
  Awaitable<Outcome> send_once();
  struct Tries {
    std::uint32_t unsent = 0, answered = 0;
  };
  bool sends_again(const Outcome& outcome, Tries& tries) const;
  void doubt(const std::string& why);
  void begin_anew();
  // Where it may be sent again, nothing of an answer is given on before it is whole.
  bool holds_back() const { return policy_.when_in_doubt() == InDoubt::retry; }
  Awaitable<std::string> read_body();
  bool fits() const;
  Awaitable<> make_room();
  Awaitable<> watch_timeout();
  Awaitable<> settle(Outcome outcome);
  std::string why_sent_after_all(std::uint64_t claim, bool gone) const;
  void tell(const Outcome& outcome);
  AnswerPtr make_answer();
  const std::string& text() const { return answer_ ? answer_->body : body_; }

  Executor executor_;
  Guard& guard_;
  Record record_;  // as last written by this execution
  const Policy& policy_;
  std::unique_ptr<Exchange> exchange_;
  InFlight::Entry entry_;

  Condition changed_;
  Timer timeout_;
  SteadyClock::time_point deadline_;
  bool sending_ = false;  // bytes may have left
  bool lasting_ = false;  // what kept it from being sent would do so again
  bool settling_ = false;
  bool finished_ = false;  // the exchange has ended

  std::optional<AnswerHead> head_;
  Instant received_at_{};
  std::string body_, piece_;
  AnswerPtr answer_;            // once it is whole; body_ has moved there
  MemoryBudget::Share memory_;  // of what is held of the body
  std::uint64_t dropped_ = 0;   // bytes no longer in body_
  bool stored_ = true;          // body_ holds the whole body so far, for the record
  bool streaming_ = false;
  bool whole_ = false;
  bool watched_ = true;
  std::uint64_t taken_ = 0;
  std::optional<Outcome> told_;
};

}  // namespace ledger
