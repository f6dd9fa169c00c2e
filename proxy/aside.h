// A thread for long work, so that no connection waits for another's body to be read through. One:
// what such work needs of memory is needed once.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <exception>
#include <utility>

#include "guard/async.h"

namespace ledger {

class Aside {
 public:
  ~Aside() { stop(); }

  // `work()` there, then on here. Its references live as long as the coroutine waits.
  template <class Work>
  Awaitable<std::invoke_result_t<Work>> run(Work work) {
    using Result = std::pair<std::invoke_result_t<Work>, std::exception_ptr>;
    auto result = co_await await_callback<Result>([this, &work](std::function<void(Result)> done) {
      asio::post(thread_, [this, &work, done = std::move(done)] {
        Result made;
        try {
          if (!stopped_) made.first = work();
        } catch (...) {
          made.second = std::current_exception();
        }
        done(std::move(made));
      });
    });
    if (result.second) std::rethrow_exception(result.second);
    co_return std::move(result.first);
  }

  // Once the threads of those who wait have stopped. What has not begun is left.
  void stop() {
    stopped_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stopped_{false};
  asio::thread_pool thread_{1};
};

}  // namespace ledger
