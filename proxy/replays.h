// Long answers that are given again: each is held once, however many take it, and counted in the
// budget of memory.
//
// Threads: any.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "guard/memory_budget.h"
#include "store/record.h"

namespace ledger {

class Replays {
 public:
  explicit Replays(MemoryBudget& budget) : budget_(budget) {}

  class Held;
  using HeldPtr = std::shared_ptr<const Held>;
  // The answer of a record: as others hold it already, or counted now. nullptr: there is no room.
  HeldPtr hold(const Digest& id, AnswerPtr answer);
  // The same, with room that was taken for it.
  HeldPtr hold(const Digest& id, AnswerPtr answer, MemoryBudget::Share share);

 private:
  HeldPtr find(const Digest& id, const Answer& answer) const;
  void forget(const Digest& id);

  MemoryBudget& budget_;
  mutable std::mutex mutex_;
  std::unordered_map<Digest, std::weak_ptr<const Held>> held_;  // guarded by mutex_
};

class Replays::Held {
 public:
  Held(Replays& replays, const Digest& id, AnswerPtr a, MemoryBudget::Share share)
      : answer(std::move(a)), replays_(replays), id_(id), share_(std::move(share)) {}
  ~Held() { replays_.forget(id_); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  const AnswerPtr answer;

 private:
  Replays& replays_;
  const Digest id_;
  MemoryBudget::Share share_;
};

}  // namespace ledger
