// The simulation's clock and timer, in the place of guard/timer.h: the same surface, but time is a
// number that the world moves, and each instance looks at it through its own View.
//
// Threads: one, as all of the simulation.
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace ledger {
namespace sim {

using Nanoseconds = std::chrono::nanoseconds;

// How one instance's clocks differ from the true time.
struct View {
  Nanoseconds offset{0};  // of its monotonic clock
  int drift_ppm = 0;
  Nanoseconds asleep{0};  // the machine's sleep, which the monotonic clock does not count

  Nanoseconds boot_time() const;  // counts the sleep
  Nanoseconds monotonic() const { return boot_time() - asleep; }
  Nanoseconds true_time_of(Nanoseconds monotonic) const;  // when its clock will show this
};
extern thread_local Nanoseconds true_time;
extern thread_local const View* view;  // of the instance that runs now

// The waits of one instance, by its own clock; outlives the context's coroutines.
class TimerQueue {
 public:
  using Place = std::pair<Nanoseconds, std::uint64_t>;
  struct Wait {
    virtual ~Wait() = default;
    virtual void complete(boost::system::error_code error) = 0;
  };
  Place add(Nanoseconds when, std::unique_ptr<Wait> wait);
  void cancel(const Place& place);  // nothing where it has fired
  void fire(Nanoseconds now);
  // Monotonic time of the next wait; max where there is none.
  Nanoseconds next() const;
  // Drops all waits, and the coroutines with them.
  void shut_down();

 private:
  std::map<Place, std::unique_ptr<Wait>> waits_;
  std::uint64_t order_ = 0;
};

struct Context : boost::asio::io_context {
  explicit Context(TimerQueue& queue) : boost::asio::io_context(1), timers(queue) {}
  TimerQueue& timers;
};

}  // namespace sim

struct SteadyClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<SteadyClock>;
  static constexpr bool is_steady = true;
  static time_point now() { return time_point(sim::view->monotonic()); }
};

class Timer {
 public:
  using executor_type = boost::asio::io_context::executor_type;
  explicit Timer(const executor_type& executor)
      : executor_(executor), queue_(static_cast<sim::Context&>(executor.context()).timers) {}
  Timer(const executor_type& executor, SteadyClock::time_point when) : Timer(executor) {
    when_ = when;
  }
  Timer(const executor_type& executor, SteadyClock::duration after)
      : Timer(executor, SteadyClock::now() + after) {}
  ~Timer() { cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  executor_type get_executor() const { return executor_; }
  void expires_at(SteadyClock::time_point when) {
    cancel();
    when_ = when;
  }
  void expires_after(SteadyClock::duration after) { expires_at(SteadyClock::now() + after); }
  void cancel() {
    for (const auto& place : std::exchange(waits_, {})) queue_.cancel(place);
  }

  template <class Token>
  auto async_wait(Token token) {
    return boost::asio::async_initiate<Token, void(boost::system::error_code)>(
        [this](auto handler) {
          waits_.push_back(queue_.add(
              when_.time_since_epoch(),
              std::make_unique<Waiting<decltype(handler)>>(executor_, std::move(handler))));
        },
        token);
  }

 private:
  template <class Handler>
  struct Waiting final : sim::TimerQueue::Wait {
    Waiting(const executor_type& e, Handler h) : executor(e), handler(std::move(h)) {}
    void complete(boost::system::error_code error) override {
      boost::asio::post(executor,
                        [h = std::move(handler), error]() mutable { std::move(h)(error); });
    }
    executor_type executor;
    Handler handler;
  };

  executor_type executor_;
  sim::TimerQueue& queue_;
  SteadyClock::time_point when_{};
  std::vector<sim::TimerQueue::Place> waits_;
};

}  // namespace ledger
