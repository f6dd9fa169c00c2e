// Time is an argument: every store takes the clock that it judges leases and expiry by.
#pragma once

#include <chrono>
#include <functional>

#include "store/record.h"

namespace ledger {

// May be called from any thread.
using Clock = std::function<Instant()>;

inline Instant system_now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

}  // namespace ledger
