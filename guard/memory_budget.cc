#include "guard/memory_budget.h"

#include <boost/asio/this_coro.hpp>

namespace ledger {

// In its coroutine's frame. The timer belongs to that coroutine's thread; it is shared, because a
// wake-up may still be on its way when the deadline has passed.
class MemoryBudget::Waiter {
 public:
  Waiter(MemoryBudget& budget, std::size_t wanted, std::shared_ptr<Timer> timer)
      : budget_(budget), bytes(wanted), timer_(std::move(timer)) {
    const std::lock_guard lock(budget_.mutex_);
    budget_.waiters_.push_back(this);
    budget_.waiting_.fetch_add(1);
  }
  ~Waiter() {
    const std::lock_guard lock(budget_.mutex_);
    budget_.waiters_.remove(this);
    budget_.waiting_.fetch_sub(1);
    if (granted && !taken) budget_.used_.fetch_sub(bytes);
  }
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  void wake() {
    asio::post(timer_->get_executor(), [timer = timer_] { timer->cancel(); });
  }
  bool take() {
    const std::lock_guard lock(budget_.mutex_);
    return taken = granted;
  }

 private:
  MemoryBudget& budget_;

 public:
  const std::size_t bytes;
  bool granted = false;  // guarded by the budget's mutex_
  bool taken = false;

 private:
  const std::shared_ptr<Timer> timer_;
};

bool MemoryBudget::try_add(std::size_t bytes) {
  auto used = used_.load(std::memory_order_relaxed);
  do {
    if (used > most_ || bytes > most_ - used) return false;
  } while (!used_.compare_exchange_weak(used, used + bytes));
  return true;
}

// Whoever waits is seen here, or sees what was given back: one of the two is first.
void MemoryBudget::give_back(std::size_t bytes) {
  used_.fetch_sub(bytes);
  if (waiting_.load() > 0) grant();
}

// In the order they came, but one that needs much does not keep those waiting who need little.
void MemoryBudget::grant() {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  for (auto* waiter : waiters_)
    if (!waiter->granted && try_add(waiter->bytes)) {
      waiter->granted = true;
      waiter->wake();
    }
}

void MemoryBudget::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

bool MemoryBudget::Share::try_take(std::size_t bytes) {
  if (!budget_->try_add(bytes)) return false;
  bytes_ += bytes;
  return true;
}

Awaitable<bool> MemoryBudget::Share::take(std::size_t bytes, SteadyClock::time_point deadline) {
  if (try_take(bytes)) co_return true;
  if (!budget_->holds(bytes)) co_return false;
  auto timer = std::make_shared<Timer>(co_await asio::this_coro::executor, deadline);
  Waiter waiter(*budget_, bytes, timer);
  budget_->grant();  // what was given back just now
  co_await timer->async_wait(use_result);
  if (!waiter.take()) co_return false;
  bytes_ += bytes;
  co_return true;
}

void MemoryBudget::Share::resize(std::size_t bytes) {
  if (bytes > bytes_)
    budget_->used_.fetch_add(bytes - bytes_);
  else if (bytes < bytes_)
    budget_->give_back(bytes_ - bytes);
  bytes_ = bytes;
}

}  // namespace ledger
