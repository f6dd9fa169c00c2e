// What the operator is told while the proxy runs, a line each: doubts, a store that fails, a lease
// that is lost. Bounded, so that a flood of doubts is no flood of lines.
//
// Threads: any.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>

#include "guard/timer.h"
#include "store/record.h"

namespace ledger {

// Which call it was, for a line: route, method, URL without its query, and label.
std::string call_of(const Record& record);

class Journal {
 public:
  using Log = std::function<void(const std::string& line)>;
  explicit Journal(Log log) : log_(std::move(log)) {}
  ~Journal();

  void say(const std::string& line) { say(line, calls_); }
  // What clients can cause at will has its own bound, so that it leaves none of the others out.
  void say_of_client(const std::string& line) { say(line, clients_); }
  // A record has become in doubt.
  void doubt(const Record& record);
  // The store failed (and a call was refused for it), or did what it was asked. One line when it
  // begins to fail, one a minute, one at the end.
  void store_failed(const std::string& why, bool refused);
  void store_works() {
    if (failing_.load(std::memory_order_relaxed)) store_recovered();
  }
  // Every other second or so: says what was left out.
  void tick();

 private:
  struct Lines {
    SteadyClock::time_point second{};
    std::size_t said = 0, left_out = 0;
  };
  void say(const std::string& line, Lines& lines);
  void say_left_out(Lines& lines);
  void store_recovered();

  const Log log_;
  std::atomic<bool> failing_{false};
  std::mutex mutex_;  // guards what follows
  SteadyClock::time_point failing_since_{}, failing_said_{};
  Lines calls_, clients_;
  std::size_t refused_ = 0;
};

}  // namespace ledger
