// The few Asio names that guard and proxy use, with a concrete executor (no type erasure on the hot
// path), and two ways to wait.
//
// Threads: one io_context a thread; a connection, its coroutines and its timers never leave it.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "guard/timer.h"

namespace ledger {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;
using Executor = asio::io_context::executor_type;
template <class T = void>
using Awaitable = asio::awaitable<T, Executor>;
// Operations answer with (ErrorCode, ...): operating errors are values, not exceptions. Deferred:
// the coroutine that awaits one is the only coroutine there is.
constexpr asio::as_tuple_t<asio::deferred_t> use_result{};

// Waits for a callback that may come from any thread; resumes on the awaiting coroutine's executor.
// `start` is called with the callback to invoke exactly once.
template <class T, class Start>
Awaitable<T> await_callback(Start start) {
  return asio::async_initiate<const asio::use_awaitable_t<Executor>, void(T)>(
      [](auto handler, Start begin) {
        auto executor = asio::get_associated_executor(handler);
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        begin(std::function<void(T)>([executor, shared](T value) {
          asio::post(executor, [shared, moved = std::move(value)]() mutable {
            auto resume = std::move(*shared);
            resume(std::move(moved));
          });
        }));
      },
      asio::use_awaitable_t<Executor>{}, std::move(start));
}

// A condition among coroutines of one thread: wait() returns at the next notify() (or `until`).
// Waiters look again at what they waited for; there are no missed wake-ups within one thread.
class Condition {
 public:
  explicit Condition(const Executor& executor) : timer_(executor, SteadyClock::time_point::max()) {}
  void notify() { timer_.cancel(); }
  Awaitable<> wait() { co_await timer_.async_wait(use_result); }

 private:
  Timer timer_;
};

}  // namespace ledger
