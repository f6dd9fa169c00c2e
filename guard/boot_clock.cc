// The clock that no one can set and that goes on while the machine sleeps; the simulator has its
// own.
#include <time.h>

#include "guard/lease.h"

namespace ledger {

std::chrono::nanoseconds time_since_boot() {
  timespec t{};
  clock_gettime(CLOCK_BOOTTIME, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

}  // namespace ledger
