// One simulated proxy process: the real Guard, Lease and Membership on the shared store, seen
// through stores that fail when told to, on an io_context that the world steps.
#pragma once

#include "guard/guard.h"
#include "guard/membership.h"
#include "store/faulty.h"
#include "tests/sim/scenario.h"

namespace ledger::sim {

struct Node {
  Node(int node_number, const Config& config, Store& shared, const View& clocks)
      : number(node_number),
        view(clocks),
        faulty(shared),
        background(shared),
        guard(faulty, metrics, lease),
        membership(config, background, lease),
        context(timers) {}
  // Whatever it was about to do is dropped, never resumed. (Its process may have died long ago.)
  ~Node() {
    sim::view = &view;
    faulty.release();
    guard.quiesce();
    timers.shut_down();
  }

  // Runs one handler, as its process would at this moment; false: there is none.
  bool step() {
    sim::view = &view;
    context.restart();
    return context.poll_one() > 0;
  }
  // When one of its timers is due, in true time.
  Nanoseconds next_timer() const {
    const auto next = timers.next();
    return next == Nanoseconds::max() ? next : view.true_time_of(next);
  }
  void fire_timers() {
    sim::view = &view;
    timers.fire(view.monotonic());
  }

  const int number;
  View view;
  bool alive = true;
  Time stands_still_until{0};
  std::uint64_t steps = 0, dies_at_step = ~std::uint64_t{0};
  Time restarts_after{0};
  bool holding = false;  // its store holds something back
  Time slack{0};         // how long it stood still or waited for its store, all in all

  // In this order: coroutines go first, what they use last.
  TimerQueue timers;
  FaultyStore faulty, background;
  Metrics metrics;
  Lease lease;
  Guard guard;
  Membership membership;
  Context context;
};

}  // namespace ledger::sim
