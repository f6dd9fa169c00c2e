// A thread for long work, so that no connection waits for another's body to be read through. One:
// what such work needs of memory is needed once.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <exception>
#include <optional>
#include <utility>

#include "guard/async.h"

namespace ledger {

class Aside {
 public:
  ~Aside() { stop(); }

  // `work()` there, then on here. Its references live as long as the coroutine waits. nullopt: its
  // turn did not come before `until`. It is told then by the turn itself, which comes at once
  // behind others as late, so that nobody waits longer than that and one work.
  template <class Work>
  Awaitable<std::optional<std::invoke_result_t<Work>>> run(Work work,
                                                           SteadyClock::time_point until) {
    using Result = std::pair<std::optional<std::invoke_result_t<Work>>, std::exception_ptr>;
    const auto start = [this, &work, until](std::function<void(Result)> done) {
      asio::post(thread_, [this, &work, until, done = std::move(done)] {
        Result made;
        try {
          if (!stopped_ && SteadyClock::now() < until) made.first = work();
        } catch (...) {
          made.second = std::current_exception();
        }
        done(std::move(made));
      });
    };
    auto result = co_await await_callback<Result>(start);
    if (result.second) std::rethrow_exception(result.second);
    co_return std::move(result.first);
  }

  // Once the threads of those who wait have stopped. What has not begun is left; what has is waited
  // for: every work is linear in a body that `body_max` bounds.
  void stop() {
    stopped_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stopped_{false};
  asio::thread_pool thread_{1};
};

}  // namespace ledger
