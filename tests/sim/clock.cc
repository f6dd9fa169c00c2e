#include "guard/lease.h"
#include "guard/timer.h"

namespace ledger {

std::chrono::nanoseconds time_since_boot() { return sim::view->boot_time(); }

namespace sim {

thread_local Nanoseconds true_time{0};
thread_local const View* view = nullptr;

Nanoseconds View::boot_time() const {
  return offset + true_time + true_time * drift_ppm / 1'000'000;
}

// Rounded up: at that time the clock has reached it.
Nanoseconds View::true_time_of(Nanoseconds shown) const {
  const auto steady = shown - offset + asleep;
  return steady - steady * drift_ppm / (1'000'000 + drift_ppm) + Nanoseconds(2);
}

TimerQueue::Place TimerQueue::add(Nanoseconds when, std::unique_ptr<Wait> wait) {
  const Place place{when, ++order_};
  waits_.emplace(place, std::move(wait));
  return place;
}

void TimerQueue::cancel(const Place& place) {
  if (auto node = waits_.extract(place))
    node.mapped()->complete(boost::asio::error::operation_aborted);
}

void TimerQueue::fire(Nanoseconds now) {
  while (!waits_.empty() && waits_.begin()->first.first <= now)
    waits_.extract(waits_.begin()).mapped()->complete({});
}

Nanoseconds TimerQueue::next() const {
  return waits_.empty() ? Nanoseconds::max() : waits_.begin()->first.first;
}

void TimerQueue::shut_down() {
  // What a dropped coroutine cancels is no longer in here.
  const auto dropped = std::exchange(waits_, {});
}

}  // namespace sim
}  // namespace ledger
