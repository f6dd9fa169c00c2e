#include "guard/lease.h"
#include "guard/timer.h"

namespace ledger {

std::chrono::nanoseconds time_since_boot() { return sim::view->boot_time(); }

namespace sim {

thread_local Nanoseconds true_time{0};
thread_local const View* view = nullptr;

namespace {
Nanoseconds drifted(Nanoseconds time, int ppm) { return time + time / 1'000'000 * ppm; }
}  // namespace

Nanoseconds View::boot_time() const { return offset + drifted(true_time, drift_ppm); }

// Rounded up: at that time the clock has reached it.
Nanoseconds View::true_time_of(Nanoseconds shown) const {
  const auto wanted = shown - offset + asleep;
  auto time = wanted;
  for (int i = 0; i < 8; ++i) time -= drifted(time, drift_ppm) - wanted;
  while (drifted(time, drift_ppm) < wanted) time += std::chrono::microseconds(1);
  return time;
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
