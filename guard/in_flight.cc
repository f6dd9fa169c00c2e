#include "guard/in_flight.h"

#include <boost/asio/this_coro.hpp>

namespace ledger {

InFlight::Entry& InFlight::Entry::operator=(Entry&& other) noexcept {
  if (this == &other) return *this;
  Entry dropped(std::move(*this));
  table_ = other.table_;
  work_ = std::move(other.work_);
  return *this;
}

InFlight::Entry::~Entry() {
  if (work_) finish(Shared{Unknown{"the proxy gave up on it", nullptr}, Digest{}});
}

void InFlight::Entry::executing(const Digest& fingerprint) {
  std::lock_guard lock(work_->mutex_);
  work_->executing_ = fingerprint;
}

void InFlight::Entry::finish(Finding finding) {
  const auto work = std::exchange(work_, nullptr);
  // Removed first: whoever comes now asks the store, which has the finding already.
  table_->remove(*work);
  std::vector<std::function<void()>> waiters;
  {
    std::lock_guard lock(work->mutex_);
    work->finding_ = std::make_shared<const Finding>(std::move(finding));
    waiters.swap(work->waiters_);
  }
  if (table_->closed_) return;
  for (auto& wake : waiters) wake();
}

InFlight::Joined InFlight::join(const Digest& id) {
  auto& s = shard(id);
  std::lock_guard lock(s.mutex);
  auto& place = s.works[id];
  if (place) return {Entry(), place};
  place = std::make_shared<Work>(id);
  return {Entry(*this, place), nullptr};
}

void InFlight::remove(const Work& work) {
  auto& s = shard(work.id_);
  std::lock_guard lock(s.mutex);
  s.works.erase(work.id_);
}

std::optional<Digest> InFlight::executing(const WorkPtr& work) {
  std::lock_guard lock(work->mutex_);
  return work->executing_;
}

Awaitable<std::shared_ptr<const Finding>> InFlight::wait(WorkPtr work,
                                                         SteadyClock::time_point deadline) {
  // The timer belongs to this coroutine's thread; the leader wakes it by a post, never directly. It
  // is shared, because a wake-up may still be on its way when the deadline has already passed.
  auto timer = std::make_shared<Timer>(co_await asio::this_coro::executor, deadline);
  {
    std::lock_guard lock(work->mutex_);
    if (work->finding_) co_return work->finding_;
    work->waiters_.push_back(
        [timer] { asio::post(timer->get_executor(), [timer] { timer->cancel(); }); });
  }
  co_await timer->async_wait(use_result);
  std::lock_guard lock(work->mutex_);
  co_return work->finding_;
}

}  // namespace ledger
