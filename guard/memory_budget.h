// What the bodies of guarded calls, the answers that are being recorded and those that are given
// again hold together (`limits.memory`). A call takes its part before it holds anything, and waits
// while there is none.
//
// Threads: any; who waits is woken on its own. Taking and giving back cost an atomic each.
#pragma once

#include <atomic>
#include <cstddef>
#include <list>
#include <mutex>
#include <utility>

#include "guard/async.h"
#include "guard/metrics.h"

namespace ledger {

class MemoryBudget {
 public:
  MemoryBudget(std::size_t most, Metrics& metrics)
      : most_(most), used_(metrics.memory_held), waiting_(metrics.memory_waiters) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // Bytes that are taken; given back with it.
  class Share {
   public:
    explicit Share(MemoryBudget& budget) : budget_(&budget) {}
    Share(Share&& other) noexcept
        : budget_(other.budget_), bytes_(std::exchange(other.bytes_, 0)) {}
    Share& operator=(Share&&) = delete;
    ~Share() { resize(0); }

    // As many more, if there is room now. False: nothing was taken.
    bool try_take(std::size_t bytes);
    // Waits for them at most until `deadline`.
    Awaitable<bool> take(std::size_t bytes, SteadyClock::time_point deadline);
    // For what is there already, whatever the budget says.
    void resize(std::size_t bytes);
    std::size_t bytes() const { return bytes_; }

   private:
    MemoryBudget* budget_;
    std::size_t bytes_ = 0;
  };

  // Could it ever be taken?
  bool holds(std::size_t bytes) const { return bytes <= most_; }
  std::size_t most() const { return most_; }
  // Answers come at their upstream's pace, so they are counted but do not wait. Twice as much as
  // may be is held: what is not needed must go.
  bool overflows() const { return used_.load(std::memory_order_relaxed) / 2 >= most_; }

  // From now on nobody is woken: the threads of those who wait are gone.
  void close();

 private:
  class Waiter;
  bool try_add(std::size_t bytes);
  void give_back(std::size_t bytes);
  void grant();

  const std::size_t most_;
  std::atomic<std::size_t>& used_;
  std::atomic<std::int64_t>& waiting_;
  std::mutex mutex_;
  std::list<Waiter*> waiters_;  // guarded by mutex_
  bool closed_ = false;         // guarded by mutex_
};

}  // namespace ledger
